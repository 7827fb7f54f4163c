"""Accuracy and the quality of attention, one value per example; averaging is the caller's business.

Where the data has ground-truth boxes: `box_map`, `box_distribution`, `mass_in_box`, `pointing`, `iou_at_box_area`,
`earth_movers_distance`. Against human maps: `vqa_hat_correlation`. Against the model itself, needing no annotation:
`leave_one_out` and `faithfulness`, `insertion_deletion`. `rank_correlation` and `entropy` serve everywhere.

Mass and rank correlation can move in opposite directions: sharpening a map raises its mass in the box and leaves every
rank where it was, a diffuse map that orders the regions well has a high rank correlation and little mass. Therefore
both are always reported, never one of them alone.

A value that is not defined for an example (no box, a constant map, too few regions) is NaN, so that `nanmean` averages
over the examples for which it is; report how many those are.
"""

from ssan.metrics.accuracy import accuracy
from ssan.metrics.boxes import box_distribution, box_map, iou_at_box_area, mass_in_box, pointing
from ssan.metrics.deletion import InsertionDeletion, insertion_deletion
from ssan.metrics.entropy import entropy
from ssan.metrics.faithfulness import faithfulness, leave_one_out
from ssan.metrics.rank import rank_correlation, vqa_hat_correlation
from ssan.metrics.transport import earth_movers_distance

__all__ = [
    "InsertionDeletion",
    "accuracy",
    "box_distribution",
    "box_map",
    "earth_movers_distance",
    "entropy",
    "faithfulness",
    "insertion_deletion",
    "iou_at_box_area",
    "leave_one_out",
    "mass_in_box",
    "pointing",
    "rank_correlation",
    "vqa_hat_correlation",
]

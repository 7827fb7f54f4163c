"""The quality of attention, one value per example; averaging is the caller's business.

Where the data has true boxes: `box_map`, `box_distribution`, `mass_in_box`, `pointing`, `selection`, `offset`. Against
the model itself, needing no annotation: `leave_one_out`, and with it `faithfulness` and `top_1`; `comprehensiveness`,
`sufficiency` and `insertion_deletion`; `registration_offset`, whether cells lie over the pixels they speak of;
`variant_scores` and `replay` show single variants. `rank_correlation` and `entropy` serve everywhere.

Where several measures need the drops, compute them once:

>>> drop = leave_one_out(model, batch, regions)
>>> faithfulness(model, batch, regions, drop=drop), top_1(model, batch, regions, drop=drop)

Mass and rank correlation can move in opposite directions: sharpening a map raises its mass in the box and leaves every
rank where it was, a diffuse map that orders the regions well has a high rank correlation and little mass. Therefore
both are always reported, never one of them alone.

A value that is not defined for an example (no box, a constant map, too few regions) is NaN, so that `nanmean` averages
over the examples for which it is; report how many those are.
"""

from ssan.metrics.boxes import box_distribution, box_map, mass_in_box, offset, pointing, selection
from ssan.metrics.deletion import InsertionDeletion, insertion_deletion
from ssan.metrics.entropy import entropy
from ssan.metrics.eraser import comprehensiveness, sufficiency, top_1
from ssan.metrics.faithfulness import faithfulness, leave_one_out
from ssan.metrics.rank import partial_rank_correlation, rank_correlation
from ssan.metrics.registration import registration_offset
from ssan.metrics.variants import replay, variant_scores

__all__ = ["box_distribution", "box_map", "mass_in_box", "offset", "pointing", "selection"]
__all__ += ["comprehensiveness", "sufficiency", "top_1"]
__all__ += ["InsertionDeletion", "faithfulness", "insertion_deletion", "leave_one_out", "replay", "variant_scores"]
__all__ += ["entropy", "partial_rank_correlation", "rank_correlation", "registration_offset"]

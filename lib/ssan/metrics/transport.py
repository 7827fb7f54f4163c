"""How far the weight of one map must be carried to make the other."""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.metrics.checks import check_weights


def earth_movers_distance(a: Tensor, b: Tensor, *, grid: tuple[int, int] | None = None) -> Tensor:
    """Earth mover's distance (1-Wasserstein) between two maps.

    `min_γ Σ_ij γ_ij d_ij` over transport plans γ with marginals a and b; d is the Euclidean distance between cell
    centres, in cells, or between positions in the sentence, in tokens. Range [0, largest distance]: [0, R - 1] for
    text, [0, √((rows-1)² + (columns-1)²)] for grids; 0 for equal maps, lower is better. Unlike correlations it knows
    that a near miss is nearer than a far one. Sensitive to the resolution of the grid (distances are in cells) and to
    diffuse background weight. Sources: Rubner et al. 2000; solved exactly by POT (`ot.emd2`, `ot.wasserstein_1d`).

    Args:
        a, b: (B, R), non-negative; divided by their sums. Padding with weight 0 in both changes nothing.
        grid: (rows, columns) of image regions; None for text.

    Returns:
        (B,) float64, on the device of `a`. Computed on the CPU, for grids example by example.

    Raises:
        ValueError: on shapes that do not match, NaN, negative or missing weight, a grid that does not fit R.
    """
    # Importing POT takes seconds: only those who ask for this distance wait for it.
    import ot

    check_weights(a=a, b=b)
    n_regions = a.shape[1]
    if grid is not None and grid[0] * grid[1] != n_regions:
        raise ValueError(f"a grid of {grid[0]}x{grid[1]} cells does not fit maps of {n_regions} regions")
    if not len(a):
        return a.new_zeros(0, dtype=torch.float64)
    p, q = (x.detach().cpu().double() / x.detach().cpu().double().sum(-1, keepdim=True) for x in (a, b))
    place = torch.arange(n_regions, dtype=torch.float64)
    if grid is None:
        places = place[:, None].expand(-1, len(a)).contiguous()
        distance = ot.wasserstein_1d(places, places, p.T.contiguous(), q.T.contiguous(), p=1)
    else:
        centres = torch.stack([place // grid[1], place % grid[1]], 1)
        ground = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist").numpy()
        costs = [ot.emd2(x, y, ground) for x, y in zip(p.numpy(), q.numpy(), strict=True)]
        distance = torch.tensor(costs, dtype=torch.float64)
    return distance.to(a.device)

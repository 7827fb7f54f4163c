"""Maps gathered from patterns against maps of the painted images."""

import pytest
import torch
from torch import nn

from ssan.accel.folding import folded
from ssan.accel.painting import enlarge
from ssan.accel.patterns import Patterns
from ssan.accel.reach import leaves
from ssan.models.cnn import GridCNN, convolution
from ssan.seeding import seeded
from tests.helpers import generator


def random_weights(layers, seed=0):
    """Weights that are large enough for every path to matter, and a normalisation that is not the identity."""
    g = generator(seed)
    with torch.no_grad():
        for name, value in layers.state_dict().items():
            if value.is_floating_point():
                value.copy_(
                    torch.rand(value.shape, generator=g) + 0.5
                    if "var" in name
                    else torch.randn(value.shape, generator=g)
                )
    return layers.eval().double()


def stack(*layers):
    return random_weights(nn.Sequential(*layers))


def check(layers, size, grid, channels=3, most_hidden=None, n_masks=40):
    """`Patterns` on two images with random fills and random masks, all and none of the cells among them."""
    g = generator(1)
    image, fill = (torch.randn(2, channels, *size, generator=g, dtype=torch.float64) for _ in range(2))
    patterns = Patterns.of(folded(leaves(layers)), image, grid, most_hidden)
    n_cells = grid[0] * grid[1]
    if most_hidden is None:
        kept = torch.rand(n_masks, n_cells, generator=g) < torch.rand(n_masks, 1, generator=g)
    else:
        kept = torch.ones(n_masks, n_cells, dtype=torch.bool)
        kept.scatter_(1, torch.rand(n_masks, n_cells, generator=g).argsort(1)[:, :most_hidden], False)
    kept[0], kept[1] = True, most_hidden is not None

    def painted(masks, which):
        return torch.where(enlarge(masks, grid, size)[:, None], image[which], fill[which])

    with torch.no_grad():
        first = patterns.first(torch.cat([painted(patterns.masks, which) for which in range(2)]))
        # What must not be read is NaN.
        tables = patterns.table(first)
        if len(patterns.pattern) < patterns.n_patterns:
            unused = torch.ones(patterns.n_patterns, dtype=torch.bool).index_fill_(0, patterns.pattern, False)
            tables[:, :-1].unflatten(1, (patterns.n_patterns, -1))[:, unused] = torch.nan
        for which in range(2):
            maps = patterns.maps(tables[which], patterns.numbers(kept))
            found = patterns.rest(maps.unflatten(1, patterns.size).permute(0, 3, 1, 2))
            torch.testing.assert_close(found, layers(painted(kept, which)), atol=1e-9, rtol=1e-9)
    return patterns


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "cnn_grid", "grid"),
    [
        ((64, 64), (8, 8), (8, 8)),
        ((32, 32), (8, 8), (8, 8)),
        ((16, 16), (8, 8), (8, 8)),
        ((24, 40), (3, 5), (3, 5)),  # odd numbers of cells
        ((40, 24), (5, 3), (5, 3)),
        ((64, 64), (8, 8), (4, 8)),  # cells of more than one place
        ((64, 64), (8, 8), (2, 2)),
        ((64, 32), (16, 8), (2, 8)),
        ((8, 8), (1, 1), (1, 1)),
    ],
)
def test_grid_cnns(size, cnn_grid, grid, channels):
    layers = random_weights(GridCNN(channels, size, cnn_grid, width=8).layers)
    patterns = check(layers, size, grid, channels)
    assert len(patterns.masks) <= 16


def test_the_default_shares_all_but_the_last_relu():
    patterns = check(random_weights(GridCNN(3, (64, 64), width=8).layers), (64, 64), (8, 8))
    assert len(patterns.masks) == 16
    assert [type(layer) for layer in patterns.rest] == [nn.ReLU]


@pytest.mark.parametrize(("most_hidden", "n"), [(1, 5), (2, 11), (3, 15), (4, 16), (None, 16)])
def test_patterns_that_no_variant_shows_are_not_run(most_hidden, n):
    layers = random_weights(GridCNN(3, (32, 32), (4, 4), width=8).layers)
    assert len(check(layers, (32, 32), (4, 4), most_hidden=most_hidden).masks) == n


def strided():
    return convolution(3, 4, stride=2)


OTHER = {
    "nothing follows": lambda: stack(strided()),
    "convolution alone, with bias": lambda: stack(strided(), nn.Conv2d(4, 5, 3, padding=1)),
    "no padding": lambda: stack(strided(), nn.Conv2d(4, 5, 3), nn.ReLU()),
    "even kernel, stride and dilation": lambda: stack(strided(), nn.Conv2d(4, 5, (2, 3), (2, 1), (1, 2), (1, 2))),
    "groups": lambda: stack(strided(), nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)),
    "reflected": lambda: stack(strided(), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
    "normalisation without weights": lambda: stack(
        strided(), nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5, affine=False), nn.ReLU(), nn.Conv2d(5, 2, 3)
    ),
    "pooling": lambda: stack(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1), nn.Conv2d(4, 2, 3)),
}


@pytest.mark.parametrize("make", OTHER.values(), ids=OTHER)
@pytest.mark.parametrize(("size", "grid"), [((12, 16), (6, 8)), ((16, 24), (2, 3)), ((12, 12), (3, 1))])
def test_other_layers(make, size, grid):
    check(make(), size, grid)


def test_stripes_may_be_seen_four_at_a_time():
    layers = stack(nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, 1, 1), nn.Conv2d(2, 3, 3, 1, 1))
    patterns = check(layers, (16, 16), (1, 8), channels=1)
    assert len(patterns.masks) == 16
    assert len(patterns.first) == 2


def test_where_patterns_do_not_pay():
    image = torch.rand(1, 3, 16, 16)
    far = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3)).eval()
    fine = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU()).eval()
    unknown = nn.Sequential(nn.AdaptiveAvgPool2d(8)).eval()
    for layers in (far, fine, unknown):
        assert Patterns.of(list(layers), image, (8, 8)) is None
    training = GridCNN(3, (16, 16)).train()
    assert (
        len(Patterns.of(list(leaves(training.layers)), image, (8, 8)).first) == 1
    )  # normalisation of the batch mixes images
    with seeded(0):
        large = GridCNN(3, (256, 256), (64, 64), width=8).eval()
    assert Patterns.of(list(leaves(large.layers)), torch.rand(1, 3, 256, 256), (64, 64)) is None


def test_places_are_counted_exactly():
    """The largest table that is allowed: the numbers of its rows are whole in float32."""
    with seeded(0):
        layers = GridCNN(1, (64, 64), (32, 32), width=8).eval().layers
    patterns = Patterns.of(folded(leaves(layers)), torch.rand(1, 1, 64, 64), (32, 32))
    assert 2**17 < patterns.origin.max() <= 2**18
    numbers = patterns.numbers(torch.ones(1, 32 * 32, dtype=torch.bool)).view(-1, 9)
    assert int(numbers.min()) >= 0
    assert int(numbers.max()) == 16 * 32 * 32 * 9
    # The centre of each place, all cells kept: the last pattern.
    assert numbers[:, 4].tolist() == [(15 * 1024 + place) * 9 + 4 for place in range(1024)]

"""Regions: what hiding does to tokens, pixels and features, against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.batch import Batch
from ssan.regions import Encoded, FeatureGrid, ImageGrid, TokenRegions, default_regions
from ssan.samplers import HideWindows, Pairs, RandomMasks, Rise, Singles
from tests.helpers import PAD, PatchModel, generator, random_images, random_sentences, sentences


def random_masks(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=generator(seed)) < 0.5


# --- tokens ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), hidden_id=st.sampled_from([0, 5]))
def test_hiding_tokens_replaces_real_ones_and_nothing_else(seed, hidden_id):
    batch = random_sentences(5, seed)
    masks = random_masks(*batch.tokens.shape, seed=seed)
    hidden = TokenRegions(hidden_id).hide(batch, masks)
    for i in range(len(batch)):
        for t in range(batch.tokens.shape[1]):
            real = t < batch.lengths[i]
            expected = hidden_id if real and not masks[i, t] else batch.tokens[i, t]
            assert hidden.tokens[i, t] == expected
    assert torch.equal(hidden.lengths, batch.lengths)


def test_padding_keeps_its_id_even_where_the_mask_hides_it():
    batch = sentences([[2, 3, 4], [5]])
    hidden = TokenRegions().hide(batch, torch.zeros(2, 3, dtype=torch.bool))
    assert hidden.tokens.tolist() == [[0, 0, 0], [0, PAD, PAD]]


def test_token_variants_mix_examples_and_repeat_them():
    batch = sentences([[2, 3, 4], [5, 6]], ids=[10, 20])
    variant, masks = TokenRegions().variants(batch, batch, torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1]), Pairs())
    assert variant.tokens.tolist() == [[0, 0, 4], [2, 3, 4], [0, 0, PAD]]
    assert masks.tolist() == [[False, False, True], [True, True, True], [False, False, True]]
    assert variant.ids.tolist() == [10, 10, 20]


def test_token_variants_are_as_wide_as_their_longest_sentence():
    batch = sentences([[2, 3, 4], [5, 6]])
    variant, masks = TokenRegions().variants(batch, batch, torch.tensor([1]), torch.tensor([1]), Singles())
    assert variant.tokens.tolist() == [[0, 6]]
    assert masks.shape == (1, 2)


def test_tokens_are_needed():
    with pytest.raises(ValueError, match="needs a batch with tokens and lengths"):
        TokenRegions().count(random_images(2))


# --- image grid ------------------------------------------------------------------------------------------------------


def painted(image, mask, grid, fill):
    """Cell by cell; `fill` (channels,) or (channels, H, W)."""
    out = image.clone()
    height, width = image.shape[1] // grid[0], image.shape[2] // grid[1]
    for cell, kept in enumerate(mask.tolist()):
        r, c = divmod(cell, grid[1])
        for y in range(r * height, (r + 1) * height):
            for x in range(c * width, (c + 1) * width):
                if not kept:
                    out[:, y, x] = fill if fill.dim() == 1 else fill[:, y, x]
    return out


@pytest.mark.parametrize("fill", ["mean", "zero", (0.25,), (0.25, -1.0)])
def test_hidden_cells_show_the_fill(fill):
    grid = (2, 3)
    batch, masks = random_images(4), random_masks(4, 6)
    hidden = ImageGrid(grid, fill).hide(batch, masks).image
    for image, mask, found in zip(batch.image, masks, hidden, strict=True):
        colour = {"mean": image.mean((1, 2)), "zero": torch.zeros(2).double()}.get(fill)
        colour = torch.tensor(fill).double().expand(2) if colour is None else colour
        torch.testing.assert_close(found, painted(image, mask, grid, colour), rtol=0, atol=1e-15)


def test_blur_keeps_colours_and_loses_shapes():
    batch = random_images(2, size=(16, 16))
    regions = ImageGrid((4, 4), "blur")
    blurred = regions.hide(batch, torch.zeros(2, 16, dtype=torch.bool)).image
    torch.testing.assert_close(blurred.mean((2, 3)), batch.image.mean((2, 3)), atol=0.05, rtol=0)
    assert (blurred.std((2, 3)) < 0.2 * batch.image.std((2, 3))).all()
    masks = random_masks(2, 16)
    for image, mask, soft, found in zip(batch.image, masks, blurred, regions.hide(batch, masks).image, strict=True):
        assert torch.equal(found, painted(image, mask, (4, 4), soft))


def test_blur_runs_along_the_right_axes():
    image = torch.zeros(1, 1, 8, 32, dtype=torch.float64)
    image[0, 0, 4, 16] = 1
    blurred = ImageGrid((2, 2), "blur").filling(image)[0, 0]
    assert (blurred[4] > 0).sum() == 17  # a kernel of half the 32 columns, and one
    assert (blurred[:, 16] > 0).sum() == 5


def test_keeping_everything_changes_nothing():
    batch = random_images(3)
    for fill in ("mean", "zero", "blur", (0.5,)):
        assert torch.equal(ImageGrid((2, 3), fill).hide(batch, torch.ones(3, 6, dtype=torch.bool)).image, batch.image)


def test_a_filled_image_with_infinite_pixels_shows_no_nan_in_hidden_cells():
    batch = random_images(1)
    batch.image[0, :, 0, 0] = torch.inf
    hidden = ImageGrid((2, 3), "zero").hide(batch, torch.tensor([[False] + [True] * 5])).image
    assert torch.isfinite(hidden).all()


def test_smooth_masks_blend():
    batch = random_images(2)
    shade = torch.rand(2, 8, 12, generator=generator(3))
    found = ImageGrid((2, 3), (0.5,)).hide(batch, shade).image
    expected = shade[:, None].double() * batch.image + (1 - shade[:, None].double()) * 0.5
    torch.testing.assert_close(found, expected)


def test_image_variants_of_a_grid_sampler():
    batch, sampler = random_images(3), HideWindows((1, 2), grid=(2, 3))
    rows, indices = torch.tensor([2, 0, 0]), torch.tensor([1, 0, 4])
    variant, masks = ImageGrid((2, 3), "zero").variants(batch, batch, rows, indices, sampler)
    assert masks.tolist() == [[False, False, True, True, True, True], [True] * 6, [True] * 4 + [False] * 2]
    assert torch.equal(variant.image[1], batch.image[0])
    assert torch.equal(variant.image[0], painted(batch.image[2], masks[0], (2, 3), torch.zeros(2).double()))


def test_rise_shades_pixels_and_says_how_much_of_each_cell_is_kept():
    batch, sampler, grid = random_images(3), Rise(6, cells=2, seed=5), (2, 3)
    rows, indices = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 6, 3])
    variant, kept = ImageGrid(grid, "zero").variants(batch, batch, rows, indices, sampler)
    for k, (row, index) in enumerate(zip(rows, indices, strict=True)):
        pixels = sampler.pixel_masks((8, 12), index.view(1), int(batch.ids[row]))[0]
        torch.testing.assert_close(variant.image[k], batch.image[row] * pixels.double())
        for cell in range(6):
            r, c = divmod(cell, 3)
            torch.testing.assert_close(kept[k, cell], pixels[4 * r : 4 * r + 4, 4 * c : 4 * c + 4].mean())
    assert (kept[0] == 1).all()
    assert ((kept > 0) & (kept < 1)).any()


def test_a_grid_that_does_not_divide_the_image_is_an_error():
    with pytest.raises(ValueError, match="a grid of 3x3 cells does not divide 8x12 images"):
        ImageGrid((3, 3)).count(random_images(2))


@pytest.mark.parametrize("grid", [(0, 2), (2,), (2, -1)])
def test_impossible_grids(grid):
    with pytest.raises(ValueError, match=r"grid must be \(rows, columns\)"):
        ImageGrid(grid)
    with pytest.raises(ValueError, match=r"grid must be \(rows, columns\)"):
        FeatureGrid(grid)


def test_image_grid_bad_input():
    with pytest.raises(ValueError, match="unknown fill 'grey'"):
        ImageGrid(fill="grey")
    with pytest.raises(ValueError, match="needs a batch with images"):
        ImageGrid().count(random_sentences(2))
    with pytest.raises(ValueError, match="fill has 3 numbers, the images have 2 channels"):
        ImageGrid((2, 3), (1.0, 2.0, 3.0)).hide(random_images(1), torch.ones(1, 6, dtype=torch.bool))


def test_counts():
    assert TokenRegions().count(sentences([[2, 3], [4]])).tolist() == [2, 1]
    assert ImageGrid((2, 3)).count(random_images(2)).tolist() == [6, 6]
    assert FeatureGrid((2, 3)).count(random_images(2)).tolist() == [6, 6]


# --- feature grid ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_hidden_features_are_replaced(fill):
    features = torch.rand(3, 6, 4, generator=generator(0))
    context, masks = torch.rand(3, 2), random_masks(3, 6)
    hidden = FeatureGrid((2, 3), fill).hide(Encoded(features, context), masks)
    for i in range(3):
        for r in range(6):
            other = features[i].mean(0) if fill == "mean" else torch.zeros(4)
            torch.testing.assert_close(hidden.features[i, r], features[i, r] if masks[i, r] else other)
    assert hidden.context is context


def test_feature_variants_pick_features_and_context_of_their_example():
    model, batch = PatchModel((2, 3)), random_images(3)
    encoded = model.encode(batch)
    rows, indices, sampler = torch.tensor([2, 1, 1]), torch.tensor([3, 0, 2]), RandomMasks(4, seed=1)
    variant, masks = FeatureGrid((2, 3)).variants(encoded, batch, rows, indices, sampler)
    assert torch.equal(variant.context, encoded.context[rows])
    for k, (row, index) in enumerate(zip(rows, indices, strict=True)):
        mask = sampler.masks(6, index.view(1), int(batch.ids[row]))[0]
        assert torch.equal(masks[k], mask)
        assert torch.equal(variant.features[k], encoded.features[row] * mask[:, None])


def test_encoded_without_context():
    assert Encoded(torch.rand(3, 2, 4)).select(torch.tensor([1])).context is None


def test_feature_grid_bad_input():
    with pytest.raises(ValueError, match="unknown fill 'blur'"):
        FeatureGrid(fill="blur")
    with pytest.raises(ValueError, match=r"FeatureGrid \(2, 2\) does not fit features of 6 regions"):
        FeatureGrid((2, 2)).hide(Encoded(torch.rand(1, 6, 4)), torch.ones(1, 4, dtype=torch.bool))


def test_default_regions():
    assert default_regions(random_sentences(2)) == TokenRegions()
    assert default_regions(random_images(2)) == ImageGrid()
    question = random_sentences(2)
    both = Batch(question.ids, question.label, question.tokens, question.lengths, random_images(2).image)
    assert default_regions(both) == ImageGrid()

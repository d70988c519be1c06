"""Augmentation moves picture and mask together, pads as it says, and repeats from a seed."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms import v2

from seglab.datasets import CropOrPad, Normalize, collate, random_scale_crop
from seglab.errors import ArgumentError
from tests.properties import examples


def picture_that_shows_its_mask(height: int, width: int, block: int = 30) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Ids 1 to 4 in blocks; the red channel is 50 times the id, green and blue are 255, so that padding shows."""
    coarse = torch.randint(1, 5, (-(-height // block), -(-width // block)))
    mask = coarse.repeat_interleave(block, 0).repeat_interleave(block, 1)[:height, :width].to(torch.uint8)
    image = torch.full((3, height, width), 255, dtype=torch.uint8)
    image[0] = mask * 50
    return tv_tensors.Image(image), tv_tensors.Mask(mask)


def away_from_edges(mask: torch.Tensor) -> torch.Tensor:
    """(H, W) bool: pixels whose 9×9 neighbourhood is visible and of one id, where scaling mixes nothing."""
    padded = torch.nn.functional.pad(mask.float(), (4, 4, 4, 4), value=-1)
    windows = padded.unfold(0, 9, 1).unfold(1, 9, 1).flatten(2)  # (H, W, 81)
    return windows.amax(2) == windows.amin(2)


@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (33, 200)])
@pytest.mark.parametrize("scale", [(0.5, 2.0), (0.5, 0.5), (2.0, 2.0)])
def test_picture_and_mask_move_together_and_only_known_ids_occur(shape, scale):
    torch.manual_seed(0)
    augment = random_scale_crop(size=64, base=70, scale=scale)
    checked = 0
    for _ in range(10):
        image, mask = augment(*picture_that_shows_its_mask(*shape))
        assert image.shape == (3, 64, 64) and mask.shape == (64, 64)
        assert image.dtype == mask.dtype == torch.uint8
        assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)
        assert set(mask.unique().tolist()) <= {1, 2, 3, 4, 255}
        padded = mask == 255
        assert not image[:, padded].any()
        assert image[1:, ~padded].min() == 255, "what is not padded is all picture"
        sure = away_from_edges(mask) & ~padded
        assert torch.equal(image[0][sure], mask[sure] * 50)
        checked += int(sure.sum())
    assert checked > 1000


def test_normalised_pictures_are_255ths_less_the_mean_over_the_deviation():
    values = torch.arange(256, dtype=torch.uint8)
    images = torch.stack([values, values.flip(0), values]).view(3, 16, 16)
    assert Normalize()(images).min() == 0 and Normalize()(images).max() == 1
    torch.testing.assert_close(Normalize()(images), images / 255, rtol=1e-6, atol=0)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (images.double() / 255 - torch.tensor(mean).double()[:, None, None]) / torch.tensor(std)[:, None, None]
    for batch in (images, images[None].expand(2, -1, -1, -1)):
        found = Normalize(mean, std)(batch)
        torch.testing.assert_close(found, expected.float().expand_as(batch), rtol=1e-5, atol=1e-6)


def test_padding_is_what_is_missing_and_no_more():
    torch.manual_seed(0)
    _, mask = random_scale_crop(size=64, base=40, scale=(1.0, 1.0))(*picture_that_shows_its_mask(40, 50))
    inside = (mask != 255).nonzero()
    assert (inside.amax(0) - inside.amin(0) + 1).tolist() == [40, 50]
    assert (mask != 255).sum() == 40 * 50
    _, mask = random_scale_crop(size=40, base=40, scale=(1.0, 1.0))(*picture_that_shows_its_mask(40, 50))
    assert (mask != 255).all()


def test_a_picture_may_become_a_single_pixel_whatever_its_order_in_memory():
    """Where channels lie first, PyTorch's antialiasing of uint8 pictures cannot do that."""
    augment = random_scale_crop(size=1, base=2, scale=(0.5, 0.5))
    for image in (torch.full((3, 8, 8), 7, dtype=torch.uint8), torch.full((8, 8, 3), 7).byte().permute(2, 0, 1)):
        out, _ = augment(tv_tensors.Image(image), tv_tensors.Mask(torch.zeros(8, 8, dtype=torch.uint8)))
        assert isinstance(out, tv_tensors.Image) and out.tolist() == [[[7]]] * 3


def test_both_ends_of_the_scale_are_drawn():
    """A shorter side of 4 to 6 pixels: v2.RandomResize alone would never make 6."""
    torch.manual_seed(0)
    augment = random_scale_crop(size=20, base=4, scale=(1.0, 1.5), flip=0)
    heights = {int((augment(*picture_that_shows_its_mask(8, 8))[1] != 255).any(1).sum()) for _ in range(60)}
    assert heights == {4, 5, 6}


def test_flip_is_a_probability():
    torch.manual_seed(0)
    image, mask = picture_that_shows_its_mask(32, 32, block=8)
    kept = random_scale_crop(32, 32, (1.0, 1.0), flip=0.0)(image, mask)
    mirrored = random_scale_crop(32, 32, (1.0, 1.0), flip=1.0)(image, mask)
    assert torch.equal(kept[0], image) and torch.equal(kept[1], mask)
    assert torch.equal(mirrored[0], image.flip(-1)) and torch.equal(mirrored[1], mask.flip(-1))


def test_the_seed_decides_and_survives_pickling_for_workers():
    augment = random_scale_crop(48, 52)
    sample = picture_that_shows_its_mask(60, 80)

    def run(change):
        torch.manual_seed(5)
        return [change(*sample) for _ in range(3)]

    first, second, restored = run(augment), run(augment), run(pickle.loads(pickle.dumps(augment)))
    for one, two, three in zip(first, second, restored, strict=True):
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(one, two, three, strict=True))
    assert not torch.equal(first[0][1], first[1][1])
    images, masks = collate(first)
    assert images.shape == (3, 3, 48, 48) and masks.shape == (3, 48, 48)


@pytest.mark.parametrize("bad", [{"size": 0}, {"base": 0}, {"base": 1}, {"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)},
                                 {"flip": 1.5}, {"flip": -0.1}])
def test_bad_arguments_are_named(bad):
    with pytest.raises(ArgumentError, match="random_scale_crop"):
        random_scale_crop(**bad)


@pytest.mark.parametrize("size", [48, (40, 64), (1, 1), (7, 100), (61, 33)])
@pytest.mark.parametrize("shape", [(60, 33), (33, 60), (48, 48), (5, 4)])
def test_crop_or_pad_takes_the_middle_and_moves_picture_and_mask_together(shape, size):
    image, mask = picture_that_shows_its_mask(*shape, block=3)
    height, width = (size, size) if isinstance(size, int) else size
    out, ids = v2.Compose([CropOrPad(size), v2.RandomHorizontalFlip(0.0)])(image, mask)
    assert isinstance(out, tv_tensors.Image) and isinstance(ids, tv_tensors.Mask)
    assert out.shape == (3, height, width) and ids.shape == (height, width) and out.dtype == ids.dtype == torch.uint8
    kept = ids != 255
    assert kept.sum() == min(height, shape[0]) * min(width, shape[1])
    assert torch.equal(out[0][kept], ids[kept] * 50) and not out[:, ~kept].any()
    rows, columns = kept.any(1).nonzero(), kept.any(0).nonzero()
    for first, have, want in ((rows, shape[0], height), (columns, shape[1], width)):
        before, after = int(first[0]), want - 1 - int(first[-1])
        assert after - before in (0, 1) and before + after == max(0, want - have)
    top, left = max(0, shape[0] - height) // 2, max(0, shape[1] - width) // 2
    whole = mask[top:top + min(height, shape[0]), left:left + min(width, shape[1])]
    assert torch.equal(ids[kept], whole.flatten())


def test_crop_or_pad_names_what_is_wrong():
    for size in (0, (5, 0), (1, 2, 3), 1.5, (2.0, 3)):
        with pytest.raises(ArgumentError, match="size"):
            CropOrPad(size)
    image, _ = picture_that_shows_its_mask(8, 8)
    with pytest.raises(ArgumentError, match="the same height and width"):
        CropOrPad(4)(image, tv_tensors.Mask(torch.zeros(8, 9)))


@st.composite
def pictures_that_show_their_masks(draw: st.DrawFn, side: int = 40) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Of any height and width, a line of one pixel too; the red channel is the id, some are 255, the others are 200.

    Blocks of some size, so that pixels whose whole neighbourhood is of one id occur, or single pixels.
    """
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    some = torch.tensor(draw(st.lists(st.integers(0, 255), min_size=1, max_size=5)), dtype=torch.uint8)
    generator, block = torch.Generator().manual_seed(draw(st.integers(0, 2**31))), draw(st.sampled_from([1, 7, 20]))
    coarse = some[torch.randint(0, len(some), (-(-height // block), -(-width // block)), generator=generator)]
    mask = coarse.repeat_interleave(block, 0).repeat_interleave(block, 1)[:height, :width]
    image = torch.full((3, height, width), 200, dtype=torch.uint8)
    image[0] = mask
    if draw(st.booleans()):  # as datasets give them, or not
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    return tv_tensors.Image(image), tv_tensors.Mask(mask)


@examples(60)
@given(pictures_that_show_their_masks(), st.integers(1, 48), st.floats(0.1, 3.5),
       st.tuples(st.floats(0.5, 1), st.floats(1, 2)), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2**31))
def test_any_picture_augmented_has_no_new_class_and_lies_under_its_mask(sample, size, share, scale, flip, seed):
    side = min(sample[1].shape)
    base = max(2, round(share * side))
    augment = random_scale_crop(size, base, scale, flip)
    torch.manual_seed(seed)
    image, mask = augment(*sample)
    assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)
    assert image.shape == (3, size, size) and mask.shape == (size, size) and image.dtype == mask.dtype == torch.uint8
    assert set(mask.unique().tolist()) <= {*sample[1].unique().tolist(), 255}
    picture = image[1] == 200  # what is padded is 0, in all channels
    assert not image[:, ~picture].any() and (mask[~picture] == 255).all()
    # Where a picture shrinks, a mask may lose pixels that still show in it. Where it grows up to seven times, two
    # neighbours mix over less than four pixels.
    if side <= int(scale[0] * base) and scale[1] * base <= 7 * side:
        sure = away_from_edges(mask) & picture
        assert torch.equal(image[0][sure], mask[sure])
    torch.manual_seed(seed)
    again = augment(*sample)
    assert torch.equal(again[0], image) and torch.equal(again[1], mask)
    image, mask = random_scale_crop(size, max(2, side), (1.0, 1.0), flip)(*sample)
    if side > 1:  # nothing is scaled
        picture = image[1] == 200
        assert torch.equal(image[0][picture], mask[picture]) and (mask[~picture] == 255).all()


@examples(60)
@given(pictures_that_show_their_masks(), st.integers(1, 48), st.integers(1, 48), st.integers(1, 48))
def test_any_picture_cut_or_padded_keeps_each_pixel_over_its_id(sample, height, width, side):
    image, mask = CropOrPad((height, width))(*sample)
    assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)
    assert image.shape == (3, height, width) and mask.shape == (height, width)
    assert image.dtype == mask.dtype == torch.uint8
    picture = image[1] == 200
    assert torch.equal(image[0][picture], mask[picture])
    assert (mask[~picture] == 255).all() and not image[:, ~picture].any()
    assert int(picture.sum()) == min(height, sample[1].shape[0]) * min(width, sample[1].shape[1])
    same = CropOrPad(tuple(sample[1].shape))(*sample)
    assert torch.equal(same[0], sample[0]) and torch.equal(same[1], sample[1])
    larger = [max(side, n) for n in sample[1].shape]
    back = CropOrPad(tuple(sample[1].shape))(*CropOrPad(tuple(larger))(*sample))
    # What is padded and cut again is the same, but for a side of odd rest, of which each takes its own half.
    if all((a - b) % 2 == 0 for a, b in zip(larger, sample[1].shape, strict=True)):
        assert torch.equal(back[0], sample[0]) and torch.equal(back[1], sample[1])


@examples(60)
@given(st.lists(pictures_that_show_their_masks(side=12), min_size=1, max_size=4))
def test_any_pictures_of_a_batch_lie_top_left_over_their_masks(samples):
    images, masks = collate(samples)
    height, width = (max(mask.shape[axis] for _, mask in samples) for axis in (0, 1))
    assert images.shape == (len(samples), 3, height, width) and masks.shape == (len(samples), height, width)
    assert images.dtype == masks.dtype == torch.uint8
    assert images.permute(0, 2, 3, 1).is_contiguous()  # channels last
    for image, mask, (one, ids) in zip(images, masks, samples, strict=True):
        h, w = ids.shape
        assert torch.equal(image[:, :h, :w], one) and torch.equal(mask[:h, :w], ids)
        around = torch.ones(mask.shape, dtype=torch.bool)
        around[:h, :w] = False
        assert (mask[around] == 255).all() and not image[:, around].any()


@examples(40)
@given(st.lists(pictures_that_show_their_masks(side=12), min_size=1, max_size=3))
def test_any_pictures_normalised_by_what_was_measured_have_mean_0_and_deviation_1(samples):
    normalize = Normalize.of(samples)
    pixels = torch.cat([normalize(image).flatten(1) for image, _ in samples], 1).double()  # (3, pixels)
    assert pixels.isfinite().all() and pixels.mean(1).abs().max() < 1e-2
    varied = torch.tensor(normalize.std) > 2e-3  # of one colour, there is no deviation
    assert torch.allclose(pixels.std(1, correction=0)[varied], torch.ones(1).double(), atol=1e-3)
    one, _ = samples[0]
    torch.testing.assert_close(normalize(one[None])[0], normalize(one))

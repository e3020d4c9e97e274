from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import picture
from PIL import Image
from torch import Tensor

from vitnas.data import batched, rng
from vitnas.data.batched import BatchTransform, erase, erasing_boxes
from vitnas.data.transforms import Augment, Input, eval_transform, train_transform

OURS = Input((16, 16), crop_pct=1.0)
PLAIN = Augment(
    scale=(1, 1), ratio=(1, 1), hflip=0, color_jitter=None, auto_augment=None, re_prob=0
)
IMAGES = [picture(seed, (4, 4)).resize((16, 16), 3) for seed in range(32)]


def _evaluated(images: Sequence[Image.Image], input: Input = OURS) -> Tensor:
    return torch.stack([eval_transform(input)(image) for image in images])


@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_augmentation_images_are_those_of_evaluation(stored: int, channels: int) -> None:
    images = [picture(seed, (16, 16), stored) for seed in range(5)]
    statistics = ((0.3,) * channels, (0.2,) * channels)
    ours = Input((16, 16), channels, *statistics, crop_pct=1.0)
    seen = BatchTransform(ours, PLAIN, 0)(images, (0, 0))
    assert seen.dtype == torch.float32
    assert seen.is_contiguous()
    assert torch.equal(seen, _evaluated(images, ours))


def test_training_can_resize_otherwise_than_evaluation() -> None:
    image = picture(9, (40, 40))
    bilinear, bicubic = (
        Input((16, 16), crop_pct=1.0, interpolation=name) for name in ("bilinear", "bicubic")
    )
    other = replace(PLAIN, interpolation="bicubic")
    expected = eval_transform(bicubic)(image)
    assert not torch.equal(expected, eval_transform(bilinear)(image))
    assert torch.equal(train_transform(bilinear, other)(image), expected)
    assert torch.equal(BatchTransform(bilinear, other, 0)([image], (0, 0))[0], expected)


def test_each_image_flips_for_itself_and_exactly() -> None:
    seen = BatchTransform(OURS, replace(PLAIN, hflip=0.3), 0)(IMAGES * 20, (0, 0))
    expected = _evaluated(IMAGES * 20)
    same = (seen == expected).flatten(1).all(1)
    flipped = (seen == expected.flip(-1)).flatten(1).all(1)
    assert (same ^ flipped).all()
    assert float(flipped.float().mean()) == pytest.approx(0.3, abs=0.06)


def test_a_batch_is_a_function_of_its_key() -> None:
    augment = Augment(re_prob=0.5)
    transform = BatchTransform(OURS, augment, 0)
    first = transform(IMAGES, (1, 64))
    torch.manual_seed(7), np.random.seed(7)
    assert torch.equal(first, transform(IMAGES, (1, 64)))
    assert torch.equal(first, pickle.loads(pickle.dumps(transform))(IMAGES, (1, 64)))
    for other in (
        transform(IMAGES, (2, 64)),
        transform(IMAGES, (1, 96)),
        BatchTransform(OURS, augment, 1)(IMAGES, (1, 64)),
    ):
        assert not torch.equal(first, other)


def test_global_generators_are_left_alone() -> None:
    states = torch.get_rng_state(), repr(np.random.get_state())
    BatchTransform(OURS, Augment(re_prob=1), 0)(IMAGES, (0, 0))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == repr(np.random.get_state())


def test_working_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = BatchTransform(OURS, Augment(re_prob=0.5), 0)
    whole = transform(IMAGES, (0, 0))
    monkeypatch.setattr(batched, "CACHED", 3 * 16 * 16 * 5)
    assert torch.equal(whole, transform(IMAGES, (0, 0)))


@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(auto_augment=None, color_jitter=0.4, re_prob=0),
        Augment(crop_padding=2, auto_augment=None, color_jitter=None),
        Augment(auto_augment="rand-m9-n3-mstd0.5", re_mode="const", re_count=3),
        Augment(auto_augment=None, color_jitter=None, re_prob=1, re_mode="rand"),
    ],
    ids=["official", "jitter", "padding", "rand", "erasing"],
)
def test_pixels_are_distributed_as_on_pil_images(augment: Augment) -> None:
    """Mean, spread and extremes of what comes out, over many draws of the same images."""
    times = 40
    with rng.isolated():
        rng.seed_all(1)
        transform = train_transform(OURS, augment)
        theirs = torch.stack([transform(image) for image in IMAGES for _ in range(times)])
    whole = BatchTransform(OURS, augment, 0)
    ours = torch.cat([whole(IMAGES, (0, turn)) for turn in range(times)])
    statistics: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.mean((0, 2, 3)),
        lambda t: t.std((0, 2, 3)),
        lambda t: t.mean((1, 2, 3)).std(),  # between images
        lambda t: t.std((2, 3)).mean(),  # inside images
        lambda t: (t - t.flip(-1)).abs().mean(),
        lambda t: (t[..., 1:] - t[..., :-1]).abs().mean(),  # texture
    ]
    for statistic in statistics:
        assert torch.allclose(statistic(ours), statistic(theirs), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
@pytest.mark.parametrize("count", [1, 3])
def test_erasing(mode: str, count: int) -> None:
    images = torch.full((600, 3, 24, 20), 9.0)
    augment = Augment(re_prob=0.4, re_mode=mode, re_count=count)
    noise = torch.Generator().manual_seed(0)
    erase(images, augment, np.random.default_rng(0), noise)
    changed = (images != 9).any(1)
    erased = changed.flatten(1).any(1)
    assert float(erased.float().mean()) == pytest.approx(0.4, abs=0.06)
    if count == 1:
        for mask in changed[erased]:
            rows, columns = mask.any(1), mask.any(0)
            assert torch.equal(mask, rows[:, None] & columns)  # a rectangle
    new = images[changed.unsqueeze(1).expand_as(images)]
    if mode == "const":
        assert (new == 0).all()
    else:
        assert abs(float(new.mean())) < 0.2
        assert float(new.std()) == pytest.approx(1, abs=0.2)
    if mode == "rand" and count == 1:
        values = [len(image[0][image[0] != 9].unique()) for image in images[erased]]
        assert set(values) == {1}


def test_erased_boxes_are_sized_as_in_timm() -> None:
    from timm.data.random_erasing import RandomErasing

    with rng.isolated():
        rng.seed_all(0)
        official: Any = RandomErasing(1.0, mode="const", device="cpu")
        theirs = torch.stack([official(torch.ones(1, 24, 20)) for _ in range(3000)])
    boxes = erasing_boxes(24, 20, np.ones(3000, np.int64), np.random.default_rng(0))
    assert (boxes[:, :2] + boxes[:, 2:] <= (24, 20)).all()
    rows, columns = theirs.eq(0).any(3).sum(2), theirs.eq(0).any(2).sum(2)
    for ours, official_sizes in ((boxes[:, 2], rows), (boxes[:, 3], columns)):
        assert ours.mean() == pytest.approx(float(official_sizes.float().mean()), rel=0.03)
        assert ours.std() == pytest.approx(float(official_sizes.float().std()), rel=0.06)
    area = boxes[:, 2] * boxes[:, 3]
    assert area.mean() == pytest.approx(float(theirs.eq(0).sum((1, 2, 3)).float().mean()), rel=0.03)


def test_a_box_that_never_fits_erases_nothing() -> None:
    boxes = erasing_boxes(1, 1, np.ones(50, np.int64), np.random.default_rng(0))
    assert (boxes[:, 2] * boxes[:, 3] == 0).all()


@pytest.mark.gpu
def test_a_gpu_gives_the_same_colours() -> None:
    transform = BatchTransform(OURS, Augment(re_prob=0, auto_augment=None), 0)
    crops = transform.crop(IMAGES, (0, 0))
    ours = transform.finish(crops.cuda(), (0, 0)).cpu()
    difference = (ours - transform.finish(crops, (0, 0))).abs()
    assert float(difference.max()) <= 1.01 / 255 / min(OURS.std)
    assert float((difference > 1e-5).float().mean()) < 0.01
    rand = BatchTransform(OURS, Augment(), 0)
    first, second = (rand.finish(crops.cuda(), (0, 0)) for _ in range(2))
    assert torch.equal(first, second)

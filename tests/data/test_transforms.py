from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import fill, picture
from PIL import Image
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torchvision.transforms import functional as F

from vitnas.data import rng
from vitnas.data.sources import open_data
from vitnas.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augment,
    Input,
    default_input,
    eval_transform,
    make_mixup,
    pixel_transform,
    train_transform,
)
from vitnas.errors import InputError

PLAIN = Augment(
    scale=(1, 1), ratio=(1, 1), hflip=0, color_jitter=None, auto_augment=None, re_prob=0
)


def test_small_data_is_used_at_its_own_size() -> None:
    digits = open_data("digits")
    ours = default_input(digits)
    assert ours == Input((8, 8), 1, (0.3053,), (0.3759,), crop_pct=1.0)
    images = torch.stack([eval_transform(ours)(image) for image, _ in digits.train])  # type: ignore[attr-defined]
    assert abs(float(images.mean())) < 1e-3
    assert abs(float(images.std()) - 1) < 1e-3
    assert default_input(digits, 16).img_size == (16, 16)
    colour = default_input(digits, (16, 24), channels=3)
    assert colour == Input((16, 24), 3, IMAGENET_MEAN, IMAGENET_STD, crop_pct=1.0)


def test_large_data_is_used_as_the_official_recipe_does(tmp_path: Any) -> None:
    fill(tmp_path, {"cat": 4, "dog": 4}, size=(100, 140))
    data = open_data(f"folder/{tmp_path}")
    assert default_input(data) == Input((224, 224), 3, IMAGENET_MEAN, IMAGENET_STD)
    assert default_input(data, channels=1) == Input((224, 224), 1, (0.5,), (0.5,))


def test_evaluation_is_resize_256_and_crop_224() -> None:
    image = picture(0, (300, 400))
    resized = F.resize(image, 256, F.InterpolationMode.BICUBIC)
    expected = F.normalize(
        F.to_tensor(F.center_crop(resized, [224, 224])), list(IMAGENET_MEAN), list(IMAGENET_STD)
    )
    assert torch.equal(eval_transform(Input((224, 224)))(image), expected)


@pytest.mark.parametrize("size", [(160, 224), (224, 160), (24, 40)])
@pytest.mark.parametrize("source", [(10, 12), (50, 31), (31, 200)])
def test_rectangles(size: tuple[int, int], source: tuple[int, int]) -> None:
    image = Image.new("RGB", source[::-1], (255, 255, 255))
    rectangle = Input(size)
    seen = eval_transform(rectangle)(image)
    assert seen.shape == (3, *size)
    assert seen.dtype == torch.float32
    assert torch.allclose(seen[0], (1 - seen.new_tensor(0.485)) / 0.229)  # no padding anywhere
    for augment in (Augment(), Augment(crop_padding=4)):
        with rng.isolated():
            rng.seed_all(0)
            assert train_transform(rectangle, augment)(image).shape == (3, *size)


@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_go_both_ways(stored: int, channels: int) -> None:
    image = picture(1, (16, 16), stored)
    statistics = ((0.5,) * channels, (0.25,) * channels)
    ours = Input((16, 16), channels, *statistics, crop_pct=1.0)
    pixels = pixel_transform(ours)(image)
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (channels, 16, 16))
    if stored == 1:
        assert np.array_equal(pixels[-1], np.asarray(image))
    for seed in range(20):
        with rng.isolated():
            rng.seed_all(seed)
            assert train_transform(ours, Augment())(image).shape == (channels, 16, 16)


def test_without_augmentation_training_sees_the_evaluation_image() -> None:
    image = picture(2, (16, 16))
    ours = Input((16, 16), crop_pct=1.0)
    assert torch.equal(train_transform(ours, PLAIN)(image), eval_transform(ours)(image))


def test_padding_and_cropping_shifts_the_image() -> None:
    image = picture(3, (8, 8), 1)
    ours = Input((8, 8), 1, (0.0,), (1.0,), crop_pct=1.0)
    padded = torch.zeros(12, 12)
    padded[2:10, 2:10] = eval_transform(ours)(image)[0]
    windows = {(i, j): padded[i : i + 8, j : j + 8] for i in range(5) for j in range(5)}
    transform = train_transform(ours, replace(PLAIN, crop_padding=2))
    found = set()
    for seed in range(60):
        with rng.isolated():
            rng.seed_all(seed)
            seen = transform(image)[0]
        found.add(next(place for place, window in windows.items() if torch.equal(window, seen)))
    assert len(found) > 15


@pytest.mark.parametrize("policy", ["rand-m10-inc1-p1", "v0", "augmix-m10", "3a", "originalr"])
def test_policies_run_at_full_magnitude(policy: str) -> None:
    """Pillow refuses the 0 bits that timm's posterize comes to ask for."""
    transform = train_transform(Input((8, 8), 1, (0.5,), (0.5,)), Augment(auto_augment=policy))
    for seed in range(200):
        with rng.isolated():
            rng.seed_all(seed)
            assert transform(picture(0, (8, 8), 1)).isfinite().all()


def test_posterize_to_no_bits_is_black() -> None:
    transform: Any = train_transform(Input((8, 8)), Augment(auto_augment="rand-m9-inc1"))
    ops = {op.name: op for op in transform.transforms[2].transforms[0].ops}
    image = picture(0, (8, 8))
    assert np.asarray(ops["PosterizeIncreasing"].aug_fn(image, 0)).max() == 0
    kept = np.asarray(ops["PosterizeIncreasing"].aug_fn(image, 2))
    assert np.array_equal(kept, np.asarray(image) & 0b11000000)


def test_transforms_travel_to_worker_processes() -> None:
    ours = Input((8, 8))
    for transform in (train_transform(ours, Augment(crop_padding=1)), eval_transform(ours)):
        assert repr(pickle.loads(pickle.dumps(transform))) is not None


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_mixup_depends_on_its_seed_alone(mode: str) -> None:
    mix = make_mixup(Augment(mixup_mode=mode), num_classes=5)
    assert mix is not None
    images, labels = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    state = torch.get_rng_state(), repr(np.random.get_state())
    runs = [mix(images.clone(), labels, seed) for seed in (1, 1, 2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[2][0])
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == repr(np.random.get_state())
    assert runs[0][1].shape == (6, 5)
    assert torch.allclose(runs[0][1].sum(1), torch.ones(6))


def test_mixup_mixes_an_image_with_its_mirror_in_the_batch() -> None:
    mix = make_mixup(Augment(cutmix=0, smoothing=0), num_classes=2)
    assert mix is not None
    images, labels = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.tensor([0, 1])
    mixed, targets = mix(images, labels, 3)
    assert 0 < float(targets[1, 1]) < 1
    assert torch.allclose(mixed.flatten(), targets[:, 1])


def test_smoothing_alone_is_label_smoothing() -> None:
    mix = make_mixup(Augment(mixup=0, cutmix=0, smoothing=0.1), num_classes=7)
    assert mix is not None
    images, labels = torch.rand(4, 1, 2, 2), torch.tensor([0, 6, 3, 3])
    same, targets = mix(images.clone(), labels, 0)
    assert torch.equal(same, images)
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    expected = LabelSmoothingCrossEntropy(0.1)(logits, labels)
    assert torch.allclose(SoftTargetCrossEntropy()(logits, targets), expected, atol=1e-6)


def test_no_mixup() -> None:
    assert make_mixup(Augment(mixup=0, cutmix=0, smoothing=0), 10) is None


def test_mixup_needs_pairs() -> None:
    mix = make_mixup(Augment(), 3)
    assert mix is not None
    with pytest.raises(InputError, match="batch_size is 3, mixup needs an even one"):
        mix(torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 2]), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"img_size": (0, 8)}, "img_size is (0, 8), it must be two positive numbers"),
        ({"channels": 2}, "channels is 2, it must be 1 or 3"),
        ({"channels": 1}, "mean is (0.485, 0.456, 0.406), it must be 1 values, one a channel"),
        ({"std": (0.1, 0.0, 0.1)}, "std is (0.1, 0.0, 0.1), it must be 3 positive values"),
        ({"crop_pct": 0.0}, "crop_pct is 0.0, it must be above 0 and at most 1"),
        ({"interpolation": "bicubik"}, "unknown interpolation 'bicubik'; did you mean 'bicubic'?"),
    ],
)
def test_wrong_input_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Input(**{"img_size": (8, 8), **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": (0.5, 0.1)}, "scale is (0.5, 0.1), it must be two parts of the area"),
        ({"ratio": (0, 1)}, "ratio is (0, 1), it must be two aspect ratios"),
        ({"hflip": 1.5}, "hflip is 1.5, it must be between 0 and 1"),
        ({"re_prob": -1}, "re_prob is -1, it must be between 0 and 1"),
        ({"color_jitter": -1}, "color_jitter is -1, it must be 0 or more, or none"),
        ({"re_mode": "pixels"}, "re_mode is pixels, it must be const, rand or pixel"),
        ({"re_count": 0}, "re_count is 0, it must be 1 or more"),
        ({"mixup": -0.1}, "mixup is -0.1, it must be 0 or more"),
        ({"cutmix": float("nan")}, "cutmix is nan, it must be 0 or more"),
        ({"mixup_mode": "half"}, "mixup_mode is half, it must be batch, pair or elem"),
        ({"smoothing": 1}, "smoothing is 1, it must be 0 or more and below 1"),
        ({"repeats": 0}, "repeats is 0, it must be 1 or more"),
        ({"crop_padding": -1}, "crop_padding is -1, it must be 0 or more pixels"),
        ({"auto_augment": "rand-mfoo"}, "auto_augment is rand-mfoo, it must be none or a policy"),
        ({"auto_augment": "random"}, "auto_augment is random, it must be none or a policy"),
        ({"hflip": 2, "mixup": -1}, "hflip is 2, it must be between 0 and 1; mixup is -1"),
    ],
)
def test_wrong_augmentation_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Augment(**changes)
    assert message in str(caught.value)

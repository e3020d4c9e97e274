from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_folders import fill, truncate
from torch import Tensor

from vitnas.data.images import Split
from vitnas.data.loader import Plan, TrainLoader, train_loader
from vitnas.data.sources import open_data
from vitnas.data.transforms import Augment, default_input
from vitnas.errors import InputError

# Python 3.12 warns of fork while torch's threads live, which is how its loader works on Linux.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

DIGITS = open_data("digits")
INPUT = default_input(DIGITS)
AUGMENT = Augment(crop_padding=1, repeats=1)
PLAIN = Augment(
    scale=(1, 1), ratio=(1, 1), hflip=0, auto_augment=None, color_jitter=None, re_prob=0
)


def _loader(
    augment: Augment = AUGMENT, dataset: Any = DIGITS.train, **settings: Any
) -> TrainLoader:
    base = {"batch_size": 128, "seed": 0, "epoch": 0}
    return train_loader(dataset, INPUT, augment, **{**base, **settings})


def _equal(one: Iterable[tuple[Tensor, Tensor]], two: Iterable[tuple[Tensor, Tensor]]) -> bool:
    pairs = list(zip(one, two, strict=True))
    assert pairs
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs)


def test_batches() -> None:
    loader = _loader()
    batches = list(loader)
    assert len(batches) == len(loader) == 1293 // 128
    images, labels = batches[0]
    assert (images.shape, images.dtype) == ((128, 1, 8, 8), torch.float32)
    assert (labels.shape, labels.dtype) == ((128,), torch.int64)
    assert _equal(batches, loader)


def test_labels_belong_to_images() -> None:
    labels = dict(zip(*_pixels(DIGITS.train), strict=True))
    for images, given_labels in _loader(PLAIN):
        pixels = (images * INPUT.std[0] + INPUT.mean[0]).mul(255).round().to(torch.uint8)
        for image, label in zip(pixels, given_labels.tolist(), strict=True):
            assert labels[image.numpy().tobytes()] == label


def _pixels(split: Split) -> tuple[list[bytes], list[int]]:
    return [split[i][0].tobytes() for i in range(len(split))], split.labels.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_starting_in_the_middle_gives_the_rest_of_the_epoch(workers: int) -> None:
    whole = list(_loader(epoch=3))
    rest = _loader(epoch=3, start_batch=7, workers=workers)
    assert len(rest) == len(whole) - 7
    assert _equal(rest, whole[7:])
    assert len(_loader(epoch=3, start_batch=len(whole))) == 0
    assert list(_loader(epoch=3, start_batch=len(whole), workers=workers)) == []


def test_workers_change_nothing_and_live_on() -> None:
    plain, forked = _loader(), _loader(workers=2)
    for epoch, start in ((0, 0), (1, 4)):
        assert _equal(plain.at(epoch, start), forked.at(epoch, start))
    list(islice(forked.at(2), 3))  # left in the middle
    assert _equal(plain.at(3), forked.at(3))


def test_what_else_draws_changes_nothing_and_is_not_changed() -> None:
    whole = list(_loader())
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), float(np.random.rand()), float(torch.rand(()))
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    with_noise = []
    for number, batch in enumerate(_loader()):
        with_noise.append(batch)
        if number == 0:
            assert (random.random(), float(np.random.rand()), float(torch.rand(()))) == expected
        torch.rand(number)
    assert _equal(whole, with_noise)


def test_epochs_seeds_and_repeats_differ() -> None:
    first = next(iter(_loader()))[0]
    changes: list[dict[str, Any]] = [{"epoch": 1}, {"seed": 1}]
    for change in changes:
        assert not torch.equal(first, next(iter(_loader(**change)))[0])
    copies = next(iter(_loader(Augment(repeats=3, crop_padding=1))))
    assert torch.equal(copies[1][0:3], copies[1][0].repeat(3))
    assert not torch.equal(copies[0][0], copies[0][1])


def test_skipped_batches_are_not_read() -> None:
    class Counting:
        read = 0

        def __len__(self) -> int:
            return len(DIGITS.train)

        def __getitem__(self, index: int) -> Any:
            self.read += 1
            return DIGITS.train[index]

    counting = Counting()
    loader = _loader(dataset=counting, start_batch=8)
    assert len(list(loader)) == 2
    assert counting.read == 256


plans = st.builds(
    Plan,
    length=st.integers(64, 900),
    batch_size=st.integers(1, 8),
    seed=st.integers(0, 3),
    world_size=st.integers(1, 5),
)


@given(plans)
def test_an_epoch_has_each_image_at_most_once(plan: Plan) -> None:
    ranks = [
        Plan(plan.length, plan.batch_size, plan.seed, 1, r, plan.world_size)
        for r in range(plan.world_size)
    ]
    seen = Counter(i for p in ranks for batch in p.batches(0, 0) for _, _, i in batch)
    assert max(seen.values()) == 1
    left = plan.length - len(seen)
    assert left < plan.batch_size * plan.world_size
    assert {len(list(p.batches(1, 0))) for p in ranks} == {len(plan)}


@given(plans, st.integers(2, 4))
def test_repeats_follow_the_official_sampler(plan: Plan, repeats: int) -> None:
    """Against timm's sampler, the order replaced by ours."""
    from timm.data.distributed_sampler import RepeatAugSampler

    from vitnas.data import rng

    positions = set()
    for rank in range(plan.world_size):
        ours = Plan(plan.length, 1, plan.seed, repeats, rank, plan.world_size)
        official = RepeatAugSampler(
            range(plan.length), plan.world_size, rank, shuffle=False, num_repeats=repeats
        )
        order = rng.permutation(plan.length, "order", plan.seed, 2).tolist()
        items = [item for batch in ours.batches(2, 0) for item in batch]
        theirs = [order[place] for place in official]
        # Older timm gives nothing at all for fewer images than its rounding to 256.
        if theirs or plan.length >= 256:
            assert [index for _, _, index in items] == theirs
        positions |= {position for _, position, _ in items}
    assert len(positions) == ours.share * plan.world_size  # so no augmentation occurs twice


def test_ranks_share_the_batches_of_one_process() -> None:
    one = Plan(1000, 64, 0).batches(5, 0)
    two = zip(*(Plan(1000, 32, 0, 1, rank, 2).batches(5, 0) for rank in (0, 1)), strict=True)
    for whole, parts in zip(one, two, strict=True):
        assert sorted(whole) == sorted([*parts[0], *parts[1]])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_one_line(tmp_path: Path, workers: int) -> None:
    fill(tmp_path, {"cat": 20, "dog": 20})
    data = open_data(f"folder/{tmp_path}")
    index = int(data.train.indices[4])
    broken = truncate(Path(data.train.source.where(index)))
    loader = train_loader(
        data.train, default_input(data), AUGMENT, batch_size=4, seed=0, epoch=0, workers=workers
    )
    with pytest.raises(InputError, match=rf"^can't read image {re.escape(str(broken))}: .*\Z"):
        list(loader)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 2000}, "batch_size is 2000, but an epoch has only 1293 training images"),
        ({"batch_size": 700, "world_size": 2}, "only 646 training images for each of 2 processes"),
        ({"batch_size": 0}, "batch_size is 0, it must be 1 or more"),
        ({"workers": -1}, "workers is -1, it must be 0 or more"),
        ({"rank": 2, "world_size": 2}, "rank is 2, it must lie from 0 to 1"),
        ({"start_batch": 11}, "can't start at epoch 0, batch 11: an epoch has 10 batches"),
        ({"epoch": -1}, "can't start at epoch -1"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        _loader(**settings)
    assert message in str(caught.value)


BATCHED = Augment(backend="batched", crop_padding=1, repeats=2, re_prob=0.5)


@pytest.mark.parametrize("backend", ["pil", "batched"])
@pytest.mark.parametrize("workers", [0, 2])
def test_both_backends_continue_in_mid_epoch_with_any_workers(backend: str, workers: int) -> None:
    augment = replace(BATCHED, backend=backend)
    whole = list(_loader(augment, epoch=2))
    assert _equal(_loader(augment, epoch=2, start_batch=6, workers=workers), whole[6:])
    assert not torch.equal(whole[0][0], next(iter(_loader(augment, epoch=3)))[0])


def test_the_backends_differ_in_nothing_but_draws() -> None:
    pairs = zip(_loader(replace(BATCHED, backend="pil")), _loader(BATCHED), strict=True)
    for (images, labels), (others, other_labels) in pairs:
        assert torch.equal(labels, other_labels)
        assert (images.shape, images.dtype) == (others.shape, others.dtype)
        assert not torch.equal(images, others)
    plain = replace(PLAIN, repeats=2)
    assert _equal(_loader(plain), _loader(replace(plain, backend="batched")))


def test_a_policy_for_single_images_is_refused_at_the_start() -> None:
    with pytest.raises(InputError, match=r"^auto_augment is augmix-m3, .*batched only does"):
        _loader(Augment(backend="batched", auto_augment="augmix-m3"))


class _Slow:
    """Images that take long to read, in any process."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        time.sleep(self.seconds)
        return DIGITS.train[index]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_slow_disk_is_what_the_loop_waits_for(workers: int) -> None:
    loader = _loader(PLAIN, dataset=_Slow(0.02), batch_size=4, workers=workers)
    assert len(list(loader)) == 16
    stages = loader.stages
    assert stages.images == 64
    assert stages.bottleneck == "decode"
    assert stages.waiting > 0.8
    assert stages.rates()["decode"] == pytest.approx(50 * max(workers, 1), rel=0.3)
    assert stages.rate < 1.1 * stages.rates()["decode"]


def test_a_slow_step_is_what_limits_training() -> None:
    loader = _loader(PLAIN, dataset=_Slow(0.002), batch_size=4, workers=2)
    for _ in loader:
        time.sleep(0.1)
    assert loader.stages.bottleneck == "step" or loader.stages.waited["start"] > 0.03
    assert loader.stages.rates()["step"] == pytest.approx(40, rel=0.3)


def test_each_iteration_is_measured_anew() -> None:
    loader = _loader(PLAIN)
    list(loader)
    list(loader.at(1, 8))
    assert loader.stages.images == 2 * 128


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_gets_the_same_batches(workers: int) -> None:
    for augment in (AUGMENT, replace(PLAIN, backend="batched", hflip=0.5, crop_padding=1)):
        seen = []
        loader = _loader(augment, device="cuda", workers=workers)
        for images, labels in loader:
            assert images.is_cuda
            torch.mm(torch.ones(2000, 2000, device="cuda"), torch.ones(2000, 2000, device="cuda"))
            seen.append((images.cpu(), labels.cpu()))
        for (images, labels), (others, other_labels) in zip(seen, _loader(augment), strict=True):
            assert torch.allclose(images, others, atol=1e-6)
            assert torch.equal(labels, other_labels)
        stages = {"transfer"} | ({"device_augment"} if augment.backend == "batched" else set())
        assert stages <= loader.stages.rates().keys()

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import picture
from timm.data.auto_augment import rand_augment_transform

from vitnas.data import rng
from vitnas.data.policy import Layer, make_policy
from vitnas.data.transforms import Augment, Input
from vitnas.errors import InputError

OURS = Input((8, 8))
COUNT = 12_000


def _official_draws(policy: str) -> dict[str, list[float]]:
    """The amounts that timm's own code gives to each operation."""
    transform: Any = rand_augment_transform(policy, {})
    found: dict[str, list[float]] = defaultdict(list)

    def recorder(name: str) -> Any:
        def record(image: Any, *arguments: float, **_: Any) -> Any:
            found[name].append(arguments[0] if arguments else 0.0)
            return image

        return record

    for op in transform.ops:
        op.aug_fn = recorder(op.name)
    random.seed(0)
    np.random.seed(0)
    for _ in range(COUNT):
        transform(None)
    return found


@pytest.mark.parametrize(
    "name", ["rand-m9-mstd0.5-inc1", "rand-m5-n3-mstd101-p0.8", "rand-m12-mmax20-mstd1-inc1"]
)
def test_operations_and_amounts_are_distributed_as_in_timm(name: str) -> None:
    with rng.isolated():
        official = _official_draws(name)
    names = [op.name for op in rand_augment_transform(name, {}).ops]
    policy = make_policy(OURS, Augment(auto_augment=name))
    assert policy is not None
    layers = policy.draw(np.random.default_rng(1), COUNT)
    choice = np.concatenate([layer.choice for layer in layers])
    amounts = np.concatenate([layer.amount for layer in layers])
    assert sum(map(len, official.values())) / choice.size == pytest.approx(
        np.mean(choice >= 0), abs=0.01
    )
    for number, op in enumerate(names):
        ours, theirs = amounts[choice == number], np.array(official[op])
        assert len(ours) / len(theirs) == pytest.approx(1, abs=0.2), op
        if op in ("AutoContrast", "Equalize", "Invert"):
            continue
        assert _distance(ours, theirs) < 0.08, op


def _distance(first: Any, second: Any) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the distribution functions."""
    points = np.unique(np.concatenate([first, second])).round(9)
    ranks = [
        np.searchsorted(np.sort(a.round(9)), points, side="right") / len(a) for a in (first, second)
    ]
    return float(np.abs(ranks[0] - ranks[1]).max())


def test_jitter_does_all_three_in_every_order() -> None:
    policy = make_policy(OURS, Augment(auto_augment=None, color_jitter=0.4))
    assert policy is not None
    layers = policy.draw(np.random.default_rng(0), 3000)
    order = np.stack([layer.choice for layer in layers], axis=1)
    assert (np.sort(order, axis=1) == [0, 1, 2]).all()
    _, counts = np.unique(order, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 400
    amounts = np.concatenate([layer.amount for layer in layers])
    assert 0.6 <= amounts.min() < 0.61
    assert 1.39 < amounts.max() <= 1.4
    assert amounts.mean() == pytest.approx(1, abs=0.01)


def test_a_layer_does_to_each_image_what_it_says() -> None:
    """In whatever company: alone an image comes out the same."""
    policy = make_policy(OURS, Augment())
    assert policy is not None
    images = torch.stack(
        [torch.from_numpy(np.array(picture(i, (8, 8)))).permute(2, 0, 1) for i in range(64)]
    )
    (layer, _) = policy.draw(np.random.default_rng(0), 64)
    together = images.clone()
    layer.apply(together, policy.ops)
    for number, image in enumerate(images):
        alone = image[None].clone()
        part = slice(number, number + 1)
        layer.part(part).apply(alone, policy.ops)
        assert torch.equal(alone[0], together[number])
        if layer.choice[number] < 0:
            assert torch.equal(alone[0], image)
    assert (layer.choice >= 0).sum() > 16
    assert isinstance(layer, Layer)


def test_nothing_to_do() -> None:
    assert make_policy(OURS, Augment(auto_augment=None, color_jitter=None)) is None
    assert make_policy(OURS, Augment(auto_augment=None, color_jitter=0.0)) is None


@pytest.mark.parametrize(
    "policy", ["augmix-m3", "v0", "original-mstd0.5", "3a", "rand-m9-t3a", "rand-tweights"]
)
def test_other_policies_are_refused(policy: str) -> None:
    with pytest.raises(InputError) as caught:
        make_policy(OURS, Augment(auto_augment=policy))
    assert str(caught.value) == (
        f"auto_augment is {policy}, augment.backend=batched only does RandAugment without a set of "
        "its own (rand-... without -t); change it or take augment.backend=pil"
    )


def test_other_interpolations_are_refused() -> None:
    with pytest.raises(InputError, match=r"^interpolation is lanczos, .* nearest, bilinear or bic"):
        make_policy(Input((8, 8), interpolation="lanczos"), Augment())

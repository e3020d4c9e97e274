from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from vitnas.candidates import evaluation, racing_order
from vitnas.data.cache import EvalSet, eval_cache
from vitnas.data.sources import open_data
from vitnas.data.transforms import Input
from vitnas.errors import InputError
from vitnas.evaluate import evaluate_subnets
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

SPACE = Space(
    "autoformer",
    (
        Choice("depth", (1, 2)),
        Choice("mlp_ratio", (1, 2), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (8, 16)),
    ),
)


@pytest.fixture(scope="module")
def split() -> EvalSet:
    digits = open_data("digits").search
    return eval_cache(digits, Input((8, 8), channels=1, mean=(0.5,), std=(0.5,)))


def make(space: Space | None) -> Supernet:
    torch.manual_seed(0)
    options: dict[str, Any] = {"in_chans": 1, "patch_size": 4, "head_dim": 8}
    return Supernet(space, 10, 8, largest=SPACE.largest, **options)


def test_results_are_the_scores_of_the_subnets(split: EvalSet) -> None:
    net, archs = make(SPACE), [SPACE.sample(seed) for seed in range(5)]
    scores = evaluate_subnets(net, archs, split, batch_size=50)
    assert evaluation(net, split, batch_size=50)(archs, None) == [
        {"score": one.top1, "top5": one.top5, "loss": one.loss} for one in scores
    ]


def test_a_stopped_subnet_has_its_bound_and_its_images(split: EvalSet) -> None:
    net, archs = make(SPACE), [SPACE.smallest, SPACE.largest]
    stop, keep = evaluation(net, split, batch_size=50)(
        archs, lambda arch, at_most: arch == SPACE.smallest and at_most < 90
    )
    (whole,) = evaluate_subnets(net, [SPACE.smallest], split, batch_size=50)
    assert set(stop) == {"at_most", "images"}
    assert whole.top1 <= stop["at_most"] < 90
    assert stop["images"] == 50
    assert math.isfinite(keep["score"])


def test_the_order_of_racing_is_that_of_the_seed_and_holds_every_image(split: EvalSet) -> None:
    net = make(SPACE)
    ordered = racing_order(net, split, 3)
    assert ordered.order is not None
    assert torch.equal(ordered.order.sort().values, torch.arange(len(split)))
    again, other = racing_order(net, split, 3), racing_order(net, split, 4)
    assert again.order is not None
    assert other.order is not None
    assert torch.equal(ordered.order, again.order)
    assert not torch.equal(ordered.order, other.order)


def test_a_supernet_without_a_space_is_refused(split: EvalSet) -> None:
    with pytest.raises(InputError, match="a supernet without a search space can't be searched"):
        racing_order(make(None), split, 0)

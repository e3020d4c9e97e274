"""Racing against the same search without: proposals, parents, best and fronts are the same."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import combinations
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vitnas.arch import Arch
from vitnas.candidates import evaluation, racing_order
from vitnas.cost import macs, params
from vitnas.data.cache import EvalSet, eval_cache
from vitnas.data.sources import open_data
from vitnas.data.transforms import Input
from vitnas.search.ledger import Record
from vitnas.search.limits import Costs
from vitnas.search.pareto import front
from vitnas.search.racing import KEPT, Evaluate, Hopeless, Result, needed, one_by_one
from vitnas.search.searcher import STRATEGIES
from vitnas.search.study import search
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing.searchers import SMALL, cost

COSTS: Costs = {"params": cost, "macs": lambda arch: cost(arch) / arch.embed_dim}
IMAGES, BATCH = 40, 8
BRED = {"population": 10, "generations": 4}
OPTIONS: dict[str, dict[str, Any]] = {
    "evolution": {**BRED, "parents": 3, "mutants": 4, "crossovers": 4},
    "nsga2": {**BRED, "minimize": ["macs"]},
    "slimming": {"cost": "macs"},
    "tpe": {"startup": 30},  # models take a while to suggest
    "gp": {"startup": 33},
}
ALONE = ("nsga2", {**BRED, "minimize": []})  # with one objective, as the released ViTAS
CASES = [*((name, OPTIONS.get(name, {})) for name in sorted(STRATEGIES)), ALONE]


def racer(right: Callable[[Arch], list[bool]]) -> Evaluate:
    """Evaluate as images come in batches: `right` says of each image whether an arch gets it."""

    def evaluate(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        return [one(arch, right(arch), hopeless) for arch in archs]

    def one(arch: Arch, answers: list[bool], hopeless: Hopeless | None) -> Result:
        for seen in range(BATCH, len(answers), BATCH):
            at_most = 100 * (sum(answers[:seen]) + len(answers) - seen) / len(answers)
            if hopeless and hopeless(arch, at_most):
                return {"at_most": at_most, "images": seen}
        return {"score": 100 * sum(answers) / len(answers)}

    return evaluate


def outcome(records: Sequence[Record]) -> dict[str, object]:
    """Return all that a search is for, without what was not evaluated to the end."""
    complete = [record for record in records if record.state == "complete"]
    ranked = sorted(complete, key=lambda r: (-r.score, r.index))
    index = {record.number: record.index for record in records}
    names = [*combinations(COSTS, 1), tuple(COSTS)]
    return {
        "proposals": [record.arch for record in records],
        "parents": [[index[number] for number in record.parents] for record in records],
        "generations": [(record.origin, record.generation) for record in records],
        "best five": [(record.arch, record.score) for record in ranked[:KEPT]],
        "fronts": [_front(complete, some) for some in names],
    }


def _front(records: Sequence[Record], names: Sequence[str]) -> set[tuple[Arch, float]]:
    points = [(r.score, *(r.metrics[name] for name in names)) for r in records]
    found = front(points, (True, *(False for _ in names)))
    return {(records[i].arch, records[i].score) for i in found}


def both(
    space: Space, evaluate: Evaluate, **changes: Any
) -> tuple[Sequence[Record], Sequence[Record]]:
    """Search with racing and without."""
    found = []
    for racing in (True, False):
        with TemporaryDirectory() as folder:
            records = search(
                space, evaluate, **{"costs": COSTS, "folder": folder, "racing": racing, **changes}
            )
            found.append(records)
    return found[0], found[1]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    case=st.sampled_from(CASES),
    together=st.sampled_from([1, 4, 16]),
    spread=st.sampled_from([0.0, 0.05, 0.5]),
    hard=st.booleans(),
)
def test_the_outcome_is_the_same_for_any_accuracies(
    seed: int, case: tuple[str, dict[str, Any]], together: int, spread: float, hard: bool
) -> None:
    """Accuracies without any structure, and with many ties (40 images)."""

    def right(arch: Arch) -> list[bool]:
        rng = random.Random(f"{seed} {arch.to_json()}")
        share = 0.5 + spread * (rng.random() - 0.5)
        answers = [rng.random() < share for _ in range(IMAGES)]
        return sorted(answers) if hard else answers

    changes = {"strategy": case[0], "options": case[1], "trials": 35, "seed": seed}
    raced, whole = both(SMALL, racer(right), together=together, **changes)
    assert outcome(raced) == outcome(whole)
    for fast, slow in zip(raced, whole, strict=True):
        if fast.at_most is None:
            assert fast.score == slow.score
        else:
            assert fast.at_most >= slow.score


@pytest.mark.parametrize(
    ("strategy", "options"), [("random", {}), ("evolution", OPTIONS["evolution"]), ALONE]
)
def test_racing_stops_a_good_part_where_mistakes_come_first(
    strategy: str, options: dict[str, Any]
) -> None:
    def right(arch: Arch) -> list[bool]:
        rng = random.Random(arch.to_json())
        return sorted(rng.random() < 0.6 for _ in range(IMAGES))

    changes = {"strategy": strategy, "options": options, "trials": 40}
    raced, whole = both(SMALL, racer(right), **changes)
    assert sum(record.state == "stopped" for record in raced) >= 10
    assert all(record.state == "complete" for record in whole)


@pytest.mark.parametrize("sharing", ["prefix", "bilateral"])
def test_a_real_supernet_on_digits(sharing: str) -> None:
    space = Space(
        "autoformer",
        (
            Choice("depth", (1, 2)),
            Choice("mlp_ratio", (1, 2), "block"),
            Choice("num_heads", (1, 2), "block"),
            Choice("embed_dim", (16, 32)),
        ),
    )
    torch.manual_seed(0)
    net = Supernet(space, 10, 8, sharing=sharing, in_chans=1, patch_size=4, head_dim=16)
    digits = open_data("digits")
    plain = eval_cache(digits.search, Input((8, 8), channels=1, mean=(0.5,), std=(0.5,)))
    _train(net, space, plain)
    images = racing_order(net, plain, 0, batch_size=32)
    evaluate = evaluation(net, images, batch_size=32)
    config = net.config.to_dict()
    costs = {
        "params": lambda arch: params(arch, **config),
        "macs": lambda arch: macs(arch, **config),
    }
    options = {"population": 10, "parents": 2, "mutants": 4, "crossovers": 4, "generations": 3}
    raced, whole = both(space, evaluate, costs=costs, options=options, trials=36, together=4)
    assert outcome(raced) == outcome(whole)
    stopped = [record for record in raced if record.at_most is not None]
    assert stopped, "nothing was stopped, so nothing was shown"
    true = {record.arch: record.score for record in whole}
    for record in stopped:
        assert record.at_most is not None
        assert true[record.arch] <= record.at_most < max(true.values())
        assert record.metrics["images"] < len(images)
    assert len({record.score for record in whole}) > 5


def _train(net: Supernet, space: Space, split: EvalSet) -> None:
    """A few steps, so that subnets differ in accuracy."""
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    rng = random.Random(0)
    net.train()
    for _ in range(6):
        for images, labels in split.batches(54):
            loss = F.cross_entropy(net(images, space.sample(rng)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _record(score: float, cost: float, state: Any = "complete") -> Record:
    costs = {"params": cost, "macs": cost}
    arch = SMALL.smallest
    return Record(0, 0, arch, score, costs, "random", (), 0, 0.1, state)


@pytest.mark.parametrize(
    ("scores", "costs", "cost", "bar", "expected"),
    [
        ([], [], 5, math.inf, -math.inf),
        ([9, 8, 7, 6], [1, 1, 1, 1], 5, math.inf, -math.inf),  # no five yet
        ([9, 8, 7, 6, 5], [1, 1, 1, 1, 1], 5, math.inf, 5),  # the fifth best
        ([9, 8, 7, 6, 5, 4], [1, 1, 1, 1, 1, 1], 5, 4.5, 4.5),  # the searcher's bar
        ([9, 8, 7, 6, 5, 2], [6, 6, 6, 6, 6, 5], 5, math.inf, 2),  # the best as cheap
        ([9, 8, 7, 6, 5, 2], [6, 6, 6, 6, 6, 6], 5, math.inf, -math.inf),  # all cost more
        ([9, 8, 7, 6, 5], [1, 1, 1, 1, 1], 5, -math.inf, -math.inf),
    ],
)
def test_needed(
    scores: list[float], costs: list[float], cost: float, bar: float, expected: float
) -> None:
    done = [_record(score, c) for score, c in zip(scores, costs, strict=True)]
    # a trial that was stopped has no score that could be in anyone's way
    done += [_record(math.nan, 1, "stopped")] * 9
    assert needed({"params": cost, "macs": cost}, done, bar) == expected


def test_every_cost_counts() -> None:
    done = [_record(9, 5)] * 6
    assert needed({"params": 5, "macs": 5}, done, math.inf) == 9
    assert needed({"params": 5, "macs": 4}, done, math.inf) == -math.inf
    # a cost that an earlier run did not record
    assert needed({"params": 5, "latency": 4}, done, math.inf) == -math.inf


def test_a_function_of_one_architecture() -> None:
    evaluate = one_by_one(lambda arch: {"score": float(arch.depth)})
    archs = [SMALL.largest, SMALL.smallest]
    assert evaluate(archs, None) == [{"score": 6.0}, {"score": 3.0}]

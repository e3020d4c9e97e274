"""Greedy slimming: each round against its definition, and what it leaves for each budget."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.ledger import read
from vitnas.search.limits import Limit, Window
from vitnas.search.racing import one_by_one
from vitnas.search.searcher import Waiting
from vitnas.search.slimming import Slimming, make, slimmed
from vitnas.search.study import search
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, cost

COSTS = {"cost": cost}
PATCHES = Space(
    "toy",
    (
        Choice("depth", (2,)),
        Choice("patch", (8, 16)),
        Choice("heads", (1, 2, 4), "block"),
        Choice("norm", ("pre", "post")),
    ),
)


def _score(arch: Arch) -> float:
    """Return a score of which each layer and gene has a share of its own, so that no two tie."""
    layers = zip(arch.num_heads, arch.mlp_ratio, strict=True)
    shares = sum((7 - i) * math.sqrt(h) + (3 + i) * r / 9 for i, (h, r) in enumerate(layers))
    return float(shares + arch.embed_dim / 7 + arch.depth / 3)


def _run(searcher: Slimming, score: Any = _score) -> list[list[Arch]]:
    """Return the proposals round by round."""
    rounds: list[list[Arch]] = []
    while True:
        archs: list[Arch] = []
        try:
            while (arch := searcher.ask()) is not None:
                archs.append(arch)
        except Waiting:
            pass
        if not archs:
            return rounds
        for arch in archs:
            searcher.tell(arch, score(arch))
        rounds.append(archs)


def _shrunk(arch: Arch) -> set[Arch]:
    """Return what one step of one gene leaves of a net of the space SMALL, by hand."""
    found = set()
    if arch.depth > 3:
        heads, ratios = arch.num_heads[:-1], arch.mlp_ratio[:-1]
        found.add(arch.replace(depth=arch.depth - 1, num_heads=heads, mlp_ratio=ratios))
    if arch.embed_dim == 16:
        found.add(arch.replace(embed_dim=8))
    for gene in ("num_heads", "mlp_ratio"):
        values: Any = arch[gene]
        for layer, value in enumerate(values):
            smaller = [*values]
            smaller[layer] = value / 2
            small = arch.replace(**{gene: smaller})
            if small in SMALL:
                found.add(small)
    return found


def test_a_round_tries_every_gene_one_step_smaller_and_keeps_the_least_bad() -> None:
    searcher = make(SMALL, Window((), COSTS), 0, cost="cost")
    rounds = _run(searcher)
    assert rounds[0] == [SMALL.largest]
    told, current = set(rounds[0]), SMALL.largest
    for archs in rounds[1:]:
        rivals = _shrunk(current)
        assert set(archs) == rivals - told
        assert all(searcher.lineage(arch).parents == (current,) for arch in archs)
        told |= set(archs)
        current = max(rivals, key=_score)
        while not _shrunk(current) - told and _shrunk(current):
            current = max(_shrunk(current), key=_score)
    assert current == SMALL.smallest
    assert searcher.ask() is None


def test_one_pass_gives_the_first_net_below_each_target() -> None:
    whole = make(SMALL, Window((), COSTS), 0, cost="cost")
    _run(whole)
    targets = (5000.0, 3000.0, 1600.0)
    searcher = make(SMALL, Window((), COSTS), 0, cost="cost", targets=targets)
    asked = [arch for archs in _run(searcher) for arch in archs]
    path, current = [SMALL.largest], SMALL.largest
    while _shrunk(current):
        current = max(_shrunk(current), key=_score)
        path.append(current)
    expected = {t: next(arch for arch in path if cost(arch) <= t) for t in targets}
    assert searcher.reached == expected
    assert list(searcher.reached) == list(targets)
    assert min(map(cost, asked)) > 0.5 * targets[-1], "went on after the last target"


def test_genes_step_towards_lower_cost_and_others_stay() -> None:
    def macs(arch: Arch) -> float:
        return float(sum(arch.heads) * (224 / arch.patch) ** 2)

    searcher = make(PATCHES, Window((), {"macs": macs}), 0)
    rounds = _run(searcher, macs)
    assert rounds[0][0].patch == 8, "starts from the dearest net"
    assert {arch.patch for archs in rounds for arch in archs} == {8, 16}
    assert {arch.norm for archs in rounds for arch in archs} == {rounds[0][0].norm}
    steps = [sorted(arch.heads) for arch in rounds[1]]
    assert [2, 4] in steps
    assert [1, 4] not in steps, "skipped a value"


def test_equal_scores_are_decided_for_the_cheapest() -> None:
    searcher = make(SMALL, Window((), COSTS), 0, cost="cost", targets=(4000,))
    _run(searcher, lambda arch: 1.0)
    (found,) = searcher.reached.values()
    current = SMALL.largest
    while cost(current) > 4000:
        current = min(_shrunk(current), key=cost)
    assert cost(found) == cost(current)


def test_layers_that_are_tied_shrink_together() -> None:
    tied = SMALL.with_tied()
    searcher = make(tied, Window((), COSTS), 0, cost="cost")
    rounds = _run(searcher)
    assert all(arch in tied for archs in rounds for arch in archs)
    assert len(rounds[1]) == 4


def test_nothing_shrinks_below_a_minimum() -> None:
    window = Window((Limit("cost", 2000),), COSTS)
    rounds = _run(make(SMALL, window, 0, cost="cost"))
    assert min(cost(arch) for archs in rounds for arch in archs) >= 2000


@pytest.mark.parametrize(
    ("limits", "options", "message"),
    [
        ((), {"cost": "macs"}, "unknown cost to slim 'macs'; did you mean 'cost'? (allowed: cost)"),
        (
            (Limit("cost", maximum=3000),),
            {"cost": "cost"},
            "slimming starts from the dearest architecture, which the limits forbid: "
            "cost <= 3k; give budgets as targets instead",
        ),
        (
            (),
            {"cost": "cost", "targets": (3000, 10)},
            "no architecture satisfies cost <= 10: the smallest in this space has 1,536, "
            "the largest 12,288",
        ),
        (
            (Limit("cost", 3000),),
            {"cost": "cost", "targets": (2000,)},
            "no architecture was found that satisfies cost >= 3k and cost <= 2k: "
            "the nearest has cost 2,048",
        ),
    ],
)
def test_what_can_not_be_slimmed_is_refused(
    limits: tuple[Limit, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        make(SMALL, Window(limits, COSTS), 0, **options)
    assert str(error.value) == message


def test_the_ledger_tells_the_nets_of_the_targets(tmp_path: Path) -> None:
    def run(trials: int | None) -> dict[float, float]:
        search(
            SMALL,
            one_by_one(lambda arch: {"score": _score(arch)}),
            strategy="slimming",
            options={"cost": "cost", "targets": ["5k", "1.6k"]},
            costs=COSTS,
            trials=trials,
            folder=tmp_path,
        )
        settings, records = read(tmp_path)
        found = slimmed(settings, records, COSTS)
        return {target: record.metrics["cost"] for target, record in found.items()}

    assert run(1) == {}
    searcher = make(SMALL, Window((), COSTS), 0, cost="cost", targets=(5000, 1600))
    _run(searcher)
    expected = {target: cost(arch) for target, arch in searcher.reached.items()}
    first = run(60)
    assert first.items() <= expected.items()
    assert run(None) == expected

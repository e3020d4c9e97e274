"""Checks that every search strategy passes; run them on your own with one parametrised test::

    @pytest.mark.parametrize("check", CHECKS)
    def test_contract(check):
        check(make)  # make(space, feasible, seed) -> Searcher

Where a strategy ends by a schedule of its own, `make` must leave it room for 168 proposals. A
strategy that follows one path through the space, as slimming does, passes `PATH_CHECKS`. The name
of the cost is `cost`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeAlias

from vitnas.arch import Arch
from vitnas.search.searcher import Searcher, Waiting
from vitnas.space import Choice, Space

Make: TypeAlias = Callable[[Space, Callable[[Arch], bool], int], Searcher]

ASKS = 60
MEMBERS = 168


def _space(depth: tuple[int, ...]) -> Space:
    return Space(
        "toy",
        (
            Choice("depth", depth),
            Choice("mlp_ratio", (2.0, 4.0), "block"),
            Choice("num_heads", (1, 2), "block"),
            Choice("embed_dim", (8, 16)),
        ),
    )


TINY = _space((1, 2, 3))  # 168 architectures
SMALL = _space((3, 4, 5, 6))  # 10,880 architectures, of unequal depths


def cost(arch: Arch) -> float:
    """Return the number of weights in the linear layers of a toy architecture."""
    layers = zip(arch.num_heads, arch.mlp_ratio, strict=True)
    return float(sum(arch.embed_dim * (32 * heads + 2 * ratio * 8) for heads, ratio in layers))


def score(arch: Arch) -> float:
    """Return a score with one optimum, which is neither the largest nor the smallest arch."""
    waves = sum((-1) ** i * h * r for i, (h, r) in enumerate(_layers(arch)))
    return float(waves - abs(cost(arch) - 2000) / 1000 + arch.embed_dim / 100)


def check_proposals(make: Make) -> None:
    """Every proposal is a member of the space, feasible and new."""
    archs = list(_run(make(SMALL, _fits, 0), ASKS))
    assert len(archs) == ASKS, f"ended after {len(archs)} of {ASKS} proposals"
    assert all(arch in SMALL for arch in archs), "proposed an architecture outside the space"
    assert all(map(_fits, archs)), "proposed an infeasible architecture"
    assert len(set(archs)) == ASKS, "proposed an architecture twice"


def check_deterministic(make: Make) -> None:
    """The same seed and scores give the same proposals, whatever the global generator does."""
    first = list(_run(make(SMALL, _fits, 1), ASKS))
    random.seed(len(first))
    other = _run(make(SMALL, _fits, 2), ASKS)
    second = [arch for arch, _ in zip(_run(make(SMALL, _fits, 1), ASKS), other, strict=True)]
    assert first == second, "the same seed gave other proposals"


def check_replay(make: Make) -> None:
    """A fresh searcher that is told the recorded scores proposes what is still outstanding."""
    searcher = make(SMALL, _fits, 3)
    told = list(_run(searcher, ASKS - 1))
    outstanding = searcher.ask()
    replayed = make(SMALL, _fits, 3)
    assert list(_run(replayed, len(told))) == told, "replay gave other proposals"
    assert replayed.ask() == outstanding, "the first proposal after a replay differs"


def check_outstanding(make: Make) -> None:
    """Several proposals may be outstanding, and results may come in any order."""
    searcher = make(SMALL, _fits, 4)
    archs: list[Arch] = []
    while len(archs) < ASKS:
        batch = list(islice(_until_waiting(searcher), 8))
        assert batch, "waits or ends with nothing outstanding"
        archs += batch
        assert len(set(archs)) == len(archs), "proposed an architecture twice"
        for arch in reversed(batch):
            searcher.tell(arch, score(arch), {"cost": cost(arch)})


def check_order_of_tells(make: Make) -> None:
    """Between two asks, the order in which scores are told changes nothing."""
    assert _in_batches(make, list) == _in_batches(make, lambda batch: batch[::-1]), (
        "proposals depend on the order in which scores are told"
    )


def check_bar(make: Make) -> None:
    """Told any score below the bar in place of the true one, it proposes the same."""
    true, below = make(SMALL, _fits, 10), make(SMALL, _fits, 10)
    count, bar = 0, -math.inf
    while count < ASKS:
        batch = list(islice(_until_waiting(true), 8))
        assert batch, "waits or ends with nothing outstanding"
        assert list(islice(_until_waiting(below), 8)) == batch, "a score below the bar mattered"
        for arch in batch:
            before, bar = bar, below.bar()
            assert bar >= before, "the bar fell"
            told = score(arch) - 1000 * (score(arch) < bar)
            true.tell(arch, score(arch), {"cost": cost(arch)})
            below.tell(arch, told, {"cost": cost(arch)})
        count += len(batch)


def check_exhausts(make: Make) -> None:
    """A tiny feasible space is proposed whole, and then the searcher has ended for good."""
    searcher = make(TINY, _fits, 5)
    archs = list(_run(searcher, MEMBERS + 1))
    assert len(archs) <= MEMBERS, "proposed more architectures than the space has"
    assert set(archs) == set(filter(_fits, TINY)), "ended before every feasible arch was proposed"
    assert searcher.ask() is None, "proposed again after its end"


def check_optimum(make: Make) -> None:
    """The best of a tiny space is among the proposals."""
    found = max(_run(make(TINY, lambda arch: True, 6), MEMBERS), key=score)
    assert score(found) == max(map(score, TINY)), "missed the best architecture"


def check_lineage(make: Make) -> None:
    """Every proposal says where it comes from, and parents were told before."""
    searcher = make(SMALL, _fits, 7)
    told: set[Arch] = set()
    for arch in _run(searcher, ASKS):
        lineage = searcher.lineage(arch)
        assert lineage.origin, "no origin"
        assert lineage.generation >= 0, "negative generation"
        assert told.issuperset(lineage.parents), "a parent was not told before"
        told.add(arch)


def check_skip(make: Make) -> None:
    """A skipped proposal is not waited for, no parent, and proposed again before the end."""
    searcher = make(SMALL, _fits, 12)
    told: set[Arch] = set()
    while len(told) < ASKS:
        batch = list(islice(_until_waiting(searcher), 8))
        assert batch, "waits for a proposal that was skipped, or ended"
        for arch in batch:
            assert told.issuperset(searcher.lineage(arch).parents), "a parent was skipped"
        for arch in batch[1:]:
            searcher.skip(arch)
            assert _refuses(searcher, arch), "took the score of a skipped proposal"
        assert batch[0] not in told, "proposed an architecture twice"
        searcher.tell(batch[0], score(batch[0]), {"cost": cost(batch[0])})
        told.add(batch[0])


def check_skip_loses_nothing(make: Make) -> None:
    """A tiny feasible space is evaluated whole, though two of three proposals are skipped."""
    searcher = make(TINY, _fits, 13)
    told: set[Arch] = set()
    while batch := list(islice(_until_waiting(searcher), 3)):
        for arch in batch[1:]:
            searcher.skip(arch)
        searcher.tell(batch[0], score(batch[0]), {"cost": cost(batch[0])})
        told.add(batch[0])
    assert told == set(filter(_fits, TINY)), "lost architectures that were skipped"


def check_refuses_strangers(make: Make) -> None:
    """A score of an architecture that is not outstanding is refused."""
    searcher = make(SMALL, _fits, 8)
    asked = searcher.ask()
    assert asked is not None, "proposed nothing"
    stranger = next(arch for arch in SMALL if arch != asked)
    assert _refuses(searcher, stranger), "took the score of an architecture it never proposed"
    searcher.tell(asked, score(asked), {"cost": cost(asked)})
    assert _refuses(searcher, asked), "took a second score of one proposal"
    for arch in (stranger, asked):
        try:
            searcher.skip(arch)
        except ValueError:
            continue
        raise AssertionError("skipped what was not outstanding")


def check_empty(make: Make) -> None:
    """With nothing feasible the searcher ends at once."""
    assert make(SMALL, lambda arch: False, 9).ask() is None, "proposed an infeasible architecture"


PATH_CHECKS: tuple[Callable[[Make], None], ...] = (
    check_deterministic,
    check_replay,
    check_outstanding,
    check_order_of_tells,
    check_bar,
    check_lineage,
    check_skip,
    check_refuses_strangers,
)
CHECKS: tuple[Callable[[Make], None], ...] = (
    *PATH_CHECKS,
    check_proposals,
    check_exhausts,
    check_optimum,
    check_skip_loses_nothing,
    check_empty,
)


def _fits(arch: Arch) -> bool:
    return 1500 <= cost(arch) <= 3000


def _layers(arch: Arch) -> Iterator[tuple[int, float]]:
    return zip(arch.num_heads, arch.mlp_ratio, strict=True)


def _run(searcher: Searcher, count: int) -> Iterator[Arch]:
    """Ask and tell in turn, up to `count` times or to the end."""
    for _ in range(count):
        arch = searcher.ask()
        if arch is None:
            return
        searcher.tell(arch, score(arch), {"cost": cost(arch)})
        yield arch


def _in_batches(make: Make, order: Callable[[list[Arch]], list[Arch]]) -> list[Arch]:
    """Ask for up to 8 and tell them in an order of their own, until 60 were asked."""
    searcher = make(SMALL, _fits, 11)
    archs: list[Arch] = []
    while len(archs) < ASKS and (batch := list(islice(_until_waiting(searcher), 8))):
        for arch in order(batch):
            searcher.tell(arch, score(arch), {"cost": cost(arch)})
        archs += batch
    return archs


def _until_waiting(searcher: Searcher) -> Iterator[Arch]:
    while True:
        try:
            arch = searcher.ask()
        except Waiting:
            return
        if arch is None:
            return
        yield arch


def _refuses(searcher: Searcher, arch: Arch) -> bool:
    try:
        searcher.tell(arch, 0.0, {"cost": cost(arch)})
    except ValueError:
        return True
    return False

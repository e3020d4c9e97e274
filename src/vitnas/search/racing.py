"""Racing: an evaluation is stopped as soon as its result provably can't matter.

While an architecture is evaluated, the score that it can still reach falls with every image that
it gets wrong. `needed` gives the score below which that bound makes the rest of the evaluation
superfluous. Let a trial be stopped with the bound u, so its true score s is at most u, and u is
strictly below `needed`. Three things follow, one from each of the terms of the minimum:

1. s and u are below `Searcher.bar`, and a score below that can never influence the searcher. So
   telling it u in place of s changes no later proposal, no parent, and hence no later trial.
2. At least `KEPT` completed trials of this search have a score above u, thus above s. So the best
   five, the best among them, are the same; a trial that ties with one of them is never stopped.
3. Some completed trial has a score above u and no higher cost of any kind. It dominates the
   stopped one, on the front of score against all costs and on that of score against each single
   cost. A dominated point is on no front, and without it the front of the others is the same, as
   whatever it dominates is dominated by its own dominator.

By induction over the trials a search with racing proposes what it proposes without, in the same
order. The argument is about the bound, so it holds whatever the order of the images. It takes
scores as given (of a bilateral supernet the mean over both sides, for which the bound holds as it
holds for each): another order of images may round an evaluation differently, in the last bits of
its loss or, if two classes are that close, in an image more or less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from vitnas.arch import Arch
from vitnas.search.ledger import Record

Hopeless: TypeAlias = Callable[[Arch, float], bool]
"""Asked with an architecture and the highest score that it can still reach: stop it?"""

Result: TypeAlias = Mapping[str, float]
"""What an evaluation found: `score` with whatever else there is, or, where it was stopped,
`at_most` in place of `score`."""

Evaluate: TypeAlias = "Callable[[Sequence[Arch], Hopeless | None], Sequence[Result]]"
"""Evaluates architectures together and returns a result for each. It may stop those for which
`hopeless` is true, and need not; None means that nothing may be stopped."""

KEPT = 5


def one_by_one(evaluate: Callable[[Arch], Result]) -> Evaluate:
    """Make a function of one architecture fit for `vitnas.search.study.search`."""

    def evaluate_all(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        return [evaluate(arch) for arch in archs]

    return evaluate_all


def needed(costs: Mapping[str, float], done: Iterable[Record], bar: float) -> float:
    """Return the score below which an architecture of these costs can't matter, maybe -inf.

    `done` are the trials so far, `bar` is what the searcher says.
    """
    scored = [record for record in done if record.state == "complete"]
    best = sorted((record.score for record in scored), reverse=True)[:KEPT]
    rivals = (
        record.score
        for record in scored
        if all(record.metrics.get(name, math.inf) <= cost for name, cost in costs.items())
    )
    kept = best[-1] if len(best) == KEPT else -math.inf
    return min(bar, kept, max(rivals, default=-math.inf))

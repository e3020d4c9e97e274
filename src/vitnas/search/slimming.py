"""AutoSlim's greedy slimming: from the dearest network down, one step of one gene at a time.

Source: AutoSlim (Yu and Huang 2019, arXiv 1903.11728) and its code. In each round every gene is
tried one step smaller, and the change that hurts the score least stays. Whenever the cost meets the
next of a descending list of targets, that network is one of the results; so one pass gives a
network for each budget. There the genes are groups of channels of a layer and the error is that of
a training batch; here they are all genes that are numbers, depth among them, and the score is that
of the search. A step of a gene is the one, up or down, that lowers the cost: larger patches are
cheaper. Genes that don't change the cost stay as they are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.search.guided import adjacent, cheapest
from vitnas.search.ledger import Record, Settings
from vitnas.search.limits import Costs, Limit, Window, check_possible, parse_quantity
from vitnas.search.proposals import Proposals
from vitnas.search.searcher import Lineage
from vitnas.space import Space


@dataclass(frozen=True)
class Options:
    """What to slim, and how far.

    `targets` are values of `cost`, such as 1.3G, the largest first. Without any, slimming goes on
    to the end, where nothing gets cheaper.

    Raises:
        InputError: the targets don't fall.
    """

    cost: str = "macs"
    targets: tuple[float | str, ...] = ()

    def __post_init__(self) -> None:
        targets = tuple(parse_quantity(target, self.cost) for target in self.targets)
        if any(first <= second for first, second in pairwise(targets)):
            raise InputError(f"targets are {', '.join(map(str, self.targets))}; they must fall")
        object.__setattr__(self, "targets", targets)


class Slimming(Proposals):
    """A `Searcher`; `reached` has the targets met so far, in order, with the networks.

    Of equal scores the cheapest stays. Limits may only be minima, below which nothing shrinks:
    slimming walks down to its targets from networks that a maximum would forbid.
    """

    def __init__(self, space: Space, feasible: Window, options: Options, start: Arch) -> None:
        super().__init__(self._again)
        self._space, self._feasible = space, feasible
        self._cost = feasible.costs[options.cost]
        self._targets = [float(target) for target in options.targets]
        self._round, self._current = 0, start
        self._rivals = [start]
        self._queue = deque(self._rivals)
        self.reached: dict[float, Arch] = {}

    def ask(self) -> Arch | None:
        """Propose the next change to try; decide for one when all are told."""
        while self._rivals and not self._queue and not self._outstanding:
            self._decide()
        if not self._queue:
            return self._end()
        origin, parents = ("slimming", (self._current,)) if self._round else ("largest", ())
        return self._propose(self._queue.popleft(), Lineage(origin, parents, self._round))

    def bar(self) -> float:
        """Return -inf: the least bad change stays, however bad it is."""
        return -math.inf

    def _decide(self) -> None:
        """Keep the best of the round, and begin the next."""
        self._current = min(self._rivals, key=lambda arch: (-self._scores[arch], self._cost(arch)))
        cost = self._cost(self._current)
        met = [target for target in self._targets if cost <= target]
        self.reached |= {target: self._current for target in met if target not in self.reached}
        self._round += 1
        done = self._targets and len(met) == len(self._targets)
        self._rivals = [] if done else list(self._cheaper(cost))
        # the same network may be reached on two ways, as a cut layer takes its genes along
        self._queue.extend(arch for arch in self._rivals if arch not in self._scores)

    def _cheaper(self, cost: float) -> Iterator[Arch]:
        for arch in dict.fromkeys(adjacent(self._space, self._current)):
            if self._cost(arch) < cost and self._feasible(arch):
                yield arch

    def _again(self, arch: Arch) -> None:
        self._queue.append(arch)


def slimmed(settings: Settings, records: Iterable[Record], costs: Costs) -> dict[float, Record]:
    """Return the network of each target that a search has met so far, the largest first.

    `costs` are those of the search, which is repeated with the recorded scores.
    """
    told = {record.arch: record for record in records if record.state == "complete"}
    window = Window(settings.limits, costs)
    searcher = make(settings.space, window, settings.seed, **settings.options)
    while (arch := searcher.ask()) in told:
        assert arch is not None
        searcher.tell(arch, told[arch].score)
    return {target: told[arch] for target, arch in searcher.reached.items()}


def make(space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any) -> Slimming:
    """Build the searcher; `options` are the fields of `Options`. It draws nothing at random.

    Raises:
        InputError: the search has no such cost, limits forbid the dearest network, or no network
            meets the last target.
    """
    chosen = Options(**options)
    costs = feasible.costs if isinstance(feasible, Window) else {}
    if not isinstance(feasible, Window) or chosen.cost not in costs:
        raise unknown("cost to slim", chosen.cost, costs)
    cost = costs[chosen.cost]
    start = cheapest(space, lambda arch: -cost(arch), space.largest)
    if not feasible(start):
        raise InputError(
            "slimming starts from the dearest architecture, which the limits forbid: "
            f"{' and '.join(map(str, feasible.limits))}; give budgets as targets instead"
        )
    if chosen.targets:
        last = Limit(chosen.cost, maximum=float(chosen.targets[-1]))
        check_possible(space, (*feasible.limits, last), costs)
    return Slimming(space, feasible, chosen, start)

"""Run a search: ask, evaluate, record, tell; alone or with other workers on one ledger.

Every worker runs the whole search: its own searcher, the same as everybody's, is asked the same
questions and told the same scores, those that others recorded as well. Workers agree on nothing but
who evaluates which proposal (`vitnas.search.claims`), and wait for each other only where a searcher
needs scores before it can propose more. So however many there are, whoever comes, goes or dies, the
proposals are those of one worker.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.assisted import assist
from vitnas.search.generations import Generations
from vitnas.search.groups import groups
from vitnas.search.ledger import RESERVED, TOP1, Ledger, Record, Settings
from vitnas.search.limits import Costs, Limit, Window, check_possible
from vitnas.search.predictor import Predictor
from vitnas.search.racing import Evaluate, Result, needed
from vitnas.search.searcher import Searcher, Waiting, check_trials, make_searcher, read_options
from vitnas.space import Space

logger = logging.getLogger(__name__)

ASKED = 64  # proposals outstanding at once; more would keep from a strategy what it could learn
OVERSAMPLE = 4  # proposals that a predictor chooses from
SHORTEST, LONGEST = 0.01, 1.0  # seconds between two looks at what the others have done


def search(
    space: Space,
    evaluate: Evaluate,
    *,
    strategy: str = "evolution",
    options: Mapping[str, Any] | None = None,
    limits: Iterable[Limit] = (),
    costs: Costs,
    trials: int | None = None,
    seed: int = 0,
    folder: str | Path,
    together: int = 16,
    racing: bool = True,
    evaluated_on: str = "",
    measured_on: str = "",
    scorer: str = TOP1,
    predictor: Predictor | None = None,
    oversample: int = OVERSAMPLE,
    on_trial: Callable[[Record], None] | None = None,
    ledger: str | None = None,
    join: bool = False,
) -> list[Record]:
    """Search a space under limits; return the trials, stopped ones too, in the order proposed.

    `evaluate(archs, hopeless)` evaluates up to `together` architectures, those with a common
    beginning side by side, and returns a mapping for each: with at least `score`, of which higher
    is better; everything else in it is recorded beside. With `racing` it may stop an architecture
    for which `hopeless(arch, at_most)` is true, where `at_most` is the highest score that it can
    still reach, and return `at_most` in place of `score`; `vitnas.search.racing` proves that this
    changes neither the proposals nor the best nor a Pareto front. `racing.one_by_one` adapts a
    function of one architecture.

    `costs` are recorded for every architecture, limited or not. The search ends after `trials`
    evaluations, earlier ones of the same folder among them, or with the strategy's own schedule,
    or with the space, whichever comes first. `evaluated_on` names the weights and the split that
    the scores belong to, `measured_on` the hardware and the table of costs that were measured,
    `scorer` says what the scores are. With a `predictor` each evaluation is that of the most
    promising of `oversample` proposals (`vitnas.search.assisted`). `on_trial` is called for every
    record in the order of evaluation, for those of an earlier run as well.

    The same call resumes a search that was interrupted or killed: the searcher is a deterministic
    function of the seed and the scores, so it is asked and told again what the ledger has, without
    an evaluation, and goes on from there. Evaluations that were under way, at most `together`, are
    repeated. More `trials` continue a finished search.

    Several processes that make the same call share the search; so do several machines if `ledger`
    is the address of a database (`vitnas.search.remote`) that all reach. On one machine the folder
    is enough, and the second process must be told to `join` the first.

    Raises:
        InputError: impossible limits, unknown names or options, a folder of another search or that
            others search into, a ledger that can't be reached, or a score that is missing or no
            finite number. Nothing is evaluated before all but the last are checked.
    """
    settings = Settings(
        space,
        tuple(limits),
        strategy,
        read_options(strategy, options or {}),
        seed,
        evaluated_on,
        scorer,
        predictor.name if predictor else "",
        oversample if predictor else 1,
        measured_on,
    )
    return run(
        settings,
        evaluate,
        costs=costs,
        trials=trials,
        folder=folder,
        together=together,
        racing=racing,
        predictor=predictor,
        on_trial=on_trial,
        ledger=ledger,
        join=join,
    )


def run(
    settings: Settings,
    evaluate: Evaluate,
    *,
    costs: Costs,
    trials: int | None = None,
    folder: str | Path,
    together: int = 16,
    racing: bool = True,
    predictor: Predictor | None = None,
    on_trial: Callable[[Record], None] | None = None,
    ledger: str | None = None,
    join: bool = False,
    searcher: Searcher | None = None,
) -> list[Record]:
    """Do what `search` does, with settings that are at hand; they name the predictor.

    `searcher` is the strategy's, if it is at hand as well, never asked so far.
    """
    window = Window(settings.limits, costs)
    _check(settings, costs, trials, together)
    searcher = searcher or make_searcher(
        settings.strategy, settings.space, window, settings.seed, settings.options
    )
    if predictor:
        searcher = assist(searcher, predictor, settings.oversample, settings.options)
    opened = open_ledger(folder, settings, ledger, join=join)
    with opened:
        course = _Course(settings, searcher, opened, costs, evaluate, racing, on_trial)
        pause = SHORTEST
        while course.open or course.ask(trials, together):
            course.learn()
            course.stock(trials, together)
            if group := course.claim(together):
                course.evaluate(group)
                pause = SHORTEST
            elif course.open and not course.ask_ahead(trials, together):
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)
    tell_end(settings.strategy, trials, len(course.done))
    return sorted(course.done.values(), key=lambda record: record.index)


def tell_end(strategy: str, trials: int | None, done: int) -> None:
    """Log the end of a search that came before it had all the trials that it was given."""
    if trials is None or done < trials:
        logger.info("%s search is at its end after %d trials", strategy, done)


def open_ledger(
    folder: str | Path, settings: Settings, address: str | None = None, *, join: bool = False
) -> Ledger:
    """Return the ledger of a search: its journal, or one that other machines reach at `address`.

    Raises:
        InputError: a malformed address.
    """
    if address is None:
        return Ledger(folder, settings, join=join)
    from vitnas.search.remote import RemoteLedger

    return RemoteLedger(folder, settings, address)


class _Course:
    """Where a search stands: what was proposed, what is done, what the ledger has already."""

    def __init__(
        self,
        settings: Settings,
        searcher: Searcher,
        ledger: Ledger,
        costs: Costs,
        evaluate: Evaluate,
        racing: bool,
        on_trial: Callable[[Record], None] | None,
    ) -> None:
        self._space, self._searcher, self._ledger = settings.space, searcher, ledger
        self._costs, self._evaluate, self._racing = costs, evaluate, racing
        self._on_trial = on_trial
        self._workers, _ = ledger.claims.look(())
        self._known: dict[int, Record] = {}  # the result of each proposal that has one
        self._index: dict[Arch, int] = {}
        self._groups: deque[list[Arch]] = deque()  # as one worker evaluates what is open
        self.open: dict[Arch, int] = {}  # asked and not told yet
        self.done: dict[Arch, Record] = {}

    def ask(self, trials: int | None, together: int) -> bool:
        """Ask for the next proposals; False at the end.

        Where one call's proposals end depends on the searcher alone, as long as there are trials.
        Whole generations are asked out: nothing within one depends on when scores come.
        """
        most = math.inf if isinstance(self._searcher, Generations) else ASKED
        asked: list[Arch] = []
        while len(asked) < most and (trials is None or len(self._index) < trials):
            try:
                arch = self._searcher.ask()
            except Waiting:
                if not self.open:
                    raise
                break
            if arch is None:
                break
            self.open[arch] = self._index[arch] = len(self._index)
            asked.append(arch)
        self._groups.extend(groups(self._space, asked, together))
        return bool(asked)

    def ask_ahead(self, trials: int | None, together: int) -> bool:
        """Ask for more while others evaluate, if no score influences what is proposed."""
        return self._searcher.bar() == math.inf and self.ask(trials, together)

    def stock(self, trials: int | None, together: int) -> None:
        """Ask for enough that workers don't all want the last free proposals."""
        while self._workers > 1 and len(self.open) < 2 * self._workers * together:
            if not self.ask_ahead(trials, together):
                break

    def learn(self) -> None:
        """Tell the searcher what has been recorded, by whomever.

        A lone worker tells whole groups in their order: so it stops, in a group of which a killed
        one had recorded a part, just what that one would have stopped.
        """
        for record in self._ledger.news():
            if record.done:
                self._known.setdefault(record.index, record)
        while self._groups and all(self._index[arch] in self._known for arch in self._groups[0]):
            self._tell(self._groups.popleft())
        if self._workers > 1:
            self._tell(list(self.open))

    def _tell(self, archs: Sequence[Arch]) -> None:
        untold = [arch for arch in archs if self.open.get(arch) in self._known]
        for arch in sorted(untold, key=lambda arch: self._known[self.open[arch]].number):
            record = self._known[self.open[arch]]
            self._check_known(arch, record)
            told = record.score if record.at_most is None else record.at_most
            self._searcher.tell(arch, told, record.metrics)
            self.done[arch] = record
            del self.open[arch]
            if self._on_trial:
                self._on_trial(record)

    def claim(self, together: int) -> list[Arch]:
        """Return proposals to evaluate together, none if others evaluate all there are.

        Workers divide what is left, so that none gets a large group when little is left. Each
        picks at random: a hundred that begin together and all want the first would queue for it.
        """
        claims = self._ledger.claims
        unknown = [index for index in self.open.values() if index not in self._known]
        self._workers, free = claims.look(unknown)
        left = [arch for arch, index in self.open.items() if index in set(free)]
        if not left:
            return []
        if self._workers > 1:
            share = math.ceil(len(left) / self._workers)
            group = random.choice(groups(self._space, left, min(together, share)))
        else:
            first = next(group for group in self._groups if not set(left).isdisjoint(group))
            group = [arch for arch in first if arch in left]
        held = set(claims.take([self.open[arch] for arch in group]))
        self.learn()  # who held them may have recorded them just before
        mine = [a for a in group if self.open.get(a) in held and self.open[a] not in self._known]
        if not mine:
            claims.release()
        return mine

    def evaluate(self, group: list[Arch]) -> None:
        """Evaluate architectures and record the results."""
        try:
            self._record(group)
        finally:
            self._ledger.claims.release()
        self.learn()

    def _check_known(self, arch: Arch, record: Record) -> None:
        if record.arch != arch:
            raise InputError(
                f"trial {record.number} in {self._ledger.folder} is not what the search proposes "
                "there: another version of vitnas wrote it; use another folder"
            )

    def _record(self, archs: list[Arch]) -> None:
        costs = {
            arch: {name: float(cost(arch)) for name, cost in self._costs.items()} for arch in archs
        }
        bars = self._bars(costs)

        def hopeless(arch: Arch, at_most: float) -> bool:
            return at_most < bars[arch]

        start = time.perf_counter()
        try:
            results = self._evaluate(archs, hopeless if self._racing else None)
            checked = _checked(results, archs, self._costs, bars)
        except Exception as error:
            self._write(costs, [{}] * len(archs), time.perf_counter() - start, repr(error))
            raise
        self._write(costs, checked, time.perf_counter() - start)

    def _bars(self, costs: Mapping[Arch, Mapping[str, float]]) -> dict[Arch, float]:
        """Return the score below which each architecture can't matter: -inf without racing."""
        if not self._racing:
            return dict.fromkeys(costs, -math.inf)
        done, bar = list(self.done.values()), self._searcher.bar()
        return {arch: needed(cost, done, bar) for arch, cost in costs.items()}

    def _write(
        self,
        costs: Mapping[Arch, Mapping[str, float]],
        results: Iterable[Result],
        seconds: float,
        failure: str = "",
    ) -> None:
        if self._ledger.claims.lost():
            logger.warning("others took this worker for dead and repeat what it had evaluated")
            return
        with self._ledger.together():
            for (arch, cost), result in zip(costs.items(), results, strict=True):
                lineage = self._searcher.lineage(arch)
                self._ledger.record(
                    arch,
                    index=self._index[arch],
                    origin=lineage.origin,
                    parents=tuple(self.done[parent].number for parent in lineage.parents),
                    generation=lineage.generation,
                    costs=cost,
                    result=result,
                    seconds=seconds / len(costs),
                    failure=failure,
                    predicted=lineage.predicted,
                )


def _check(settings: Settings, costs: Costs, trials: int | None, together: int) -> None:
    check_trials(settings.strategy, settings.space, trials)
    if together < 1:
        raise InputError(f"together is {together}; it must be at least 1")
    taken = sorted(RESERVED & set(costs))
    if taken:
        raise InputError(f"a cost can't be named {', '.join(taken)}: the ledger uses these names")
    check_possible(settings.space, settings.limits, costs)


def _checked(
    results: object, archs: list[Arch], costs: Costs, bars: Mapping[Arch, float]
) -> list[dict[str, float]]:
    """Return the results as floats if each has a score, or a bound that allowed to stop."""
    if not isinstance(results, Sequence) or len(results) != len(archs):
        raise InputError(f"evaluate returned {results!r}, no list of {len(archs)} results")
    return [
        _checked_result(result, arch, costs, bars[arch])
        for result, arch in zip(results, archs, strict=True)
    ]


def _checked_result(result: object, arch: Arch, costs: Costs, bar: float) -> dict[str, float]:
    if not isinstance(result, Mapping) or len({"score", "at_most"} & set(result)) != 1:
        raise InputError(f"evaluate returned {result!r}, without a score, for {arch!r}")
    taken = sorted((RESERVED | set(costs)) & set(result) - {"score", "at_most"})
    if taken:
        raise InputError(f"evaluate returned {', '.join(taken)}: the ledger uses these names")
    metrics: dict[str, float] = {}
    for name, value in result.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise InputError(f"evaluate returned {name} {value!r}, no finite number, for {arch!r}")
        metrics[name] = float(value)
    if "at_most" in metrics and not metrics["at_most"] < bar:
        raise InputError(
            f"evaluate stopped {arch!r} at {metrics['at_most']}, which was not hopeless"
        )
    return metrics

"""From the words of `vitnas search` to a search that can run, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from vitnas.cli.measuring import read_measure, search_costs
from vitnas.cli.scoring import by_accuracy, by_proxy, check_names, find_predictor
from vitnas.cli.searching import load_supernet, read_limits, training_prior, with_objectives
from vitnas.errors import InputError
from vitnas.search.ledger import TOP1

if TYPE_CHECKING:
    from vitnas.cli.measuring import Measured
    from vitnas.cli.scoring import Scoring
    from vitnas.search.ledger import Record, Settings
    from vitnas.search.limits import Costs, Limit
    from vitnas.search.searcher import Searcher
    from vitnas.supernet import Supernet


@dataclass(frozen=True)
class Prepared:
    """A search with all that it needs; `search` begins it or goes on with it."""

    name: str
    folder: Path
    settings: Settings
    costs: Costs
    measured: Measured
    scoring: Scoring
    searcher: Searcher
    trials: int | None
    search: Callable[..., list[Record]]

    def most_trials(self) -> int | None:
        """Return how many trials there will be at most, None if nobody knows.

        Grid search lists the feasible architectures for it, unless it has done so.
        """
        from vitnas.search.grid import Grid
        from vitnas.search.searcher import most_trials

        if isinstance(self.searcher, Grid):
            planned: int | None = self.searcher.count()
        else:
            planned = most_trials(
                self.settings.strategy, self.settings.options, self.settings.space
            )
        return min((n for n in (self.trials, planned) if n is not None), default=None)

    def run(self, shown: Callable[[Record], None] | None = None, **how: bool) -> list[Record]:
        """Search, and keep what was measured for it beside the ledger."""

        def on_trial(record: Record) -> None:
            self.measured.keep(self.folder)
            if shown:
                shown(record)

        return self.search(on_trial=on_trial, **how)


def prepare(asked: SimpleNamespace) -> Prepared:
    """Check and load everything; `asked` has the arguments of `vitnas.cli.search`.

    Raises:
        InputError: one of them is wrong.
    """
    # Torch takes seconds to load, so names and numbers are looked at before.
    from vitnas import run as layout
    from vitnas.search.remote import check_address
    from vitnas.search.searcher import read_options
    from vitnas.train.reading import parse_override

    strategy, name = asked.strategy, asked.name
    chosen = with_objectives(strategy, dict(map(parse_override, asked.options)), asked.objective)
    given = read_options(strategy, chosen)
    check_names(asked.scorer, asked.predictor, asked.oversample)
    limits = _limits(asked)
    measures = read_measure(asked.measure)
    if name is not None and (name in ("", ".", "..") or Path(name).name != name):
        raise InputError(f"name is {name!r}; it must be a plain name, as of a file")
    if asked.ledger is not None:
        check_address(asked.ledger)
    source = layout.supernet_folder(asked.run)

    from vitnas.devices import resolve_device
    from vitnas.search.ledger import Settings
    from vitnas.search.limits import Window
    from vitnas.search.searcher import make_searcher
    from vitnas.search.study import OVERSAMPLE, run

    target = str(resolve_device(asked.device))
    net, space = load_supernet(source)
    options = net.config.to_dict()
    space = space.with_tied() if asked.tied == "on" else space
    name = layout.search_name(vars(asked))
    folder = asked.run / layout.SEARCHES / name
    costs, measured = search_costs(
        asked.run, folder, space, options, limits, given, asked.device, measures
    )
    window = Window(limits, costs)
    if given.get("initial") == "prior":
        given["prior"] = training_prior(asked.run, net, space, window)
    searcher = make_searcher(strategy, space, window, asked.seed, given)
    scoring = _scoring(asked, source, net, target)
    predictor = find_predictor(asked.predictor, space, options, asked.seed)
    settings = Settings(
        space,
        limits,
        strategy,
        given,
        asked.seed,
        evaluated_on=scoring.told,
        scorer=asked.scorer,
        predictor=predictor.name if predictor else "",
        oversample=(asked.oversample or OVERSAMPLE) if predictor else 1,
        measured_on=measured.measured_on(),
    )
    call = partial(
        run,
        settings,
        scoring.evaluate,
        costs=costs,
        trials=asked.trials,
        folder=folder,
        racing=asked.racing == "on",
        predictor=predictor,
        ledger=asked.ledger,
        searcher=searcher,
    )
    return Prepared(name, folder, settings, costs, measured, scoring, searcher, asked.trials, call)


def _limits(asked: SimpleNamespace) -> tuple[Limit, ...]:
    flags = {
        "params": (asked.min_params, asked.max_params),
        "macs": (asked.min_macs, asked.max_macs),
        "latency": (asked.min_latency, asked.max_latency),
        "memory": (asked.min_memory, asked.max_memory),
    }
    return read_limits(flags, asked.least, asked.most)


def _scoring(asked: SimpleNamespace, source: Path, net: Supernet, device: str) -> Scoring:
    if asked.scorer != TOP1:
        return by_proxy(asked.scorer, net.config.to_dict(), asked.seed)
    return by_accuracy(
        asked.run,
        source,
        net,
        data=asked.data,
        root=asked.root,
        skip_broken=asked.skip_broken == "yes",
        images=asked.images,
        batch_size=asked.batch_size,
        device=device,
        seed=asked.seed,
        racing=asked.racing == "on",
    )

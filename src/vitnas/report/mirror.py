"""A copy of searches in Optuna's memory, with our figures, for Optuna's dashboard to show.

The dashboard can rename, annotate and delete studies, and it keeps figures in the study that they
belong to. The copy keeps all that away from the ledgers, which are only read.
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.errors import InputError
from vitnas.report import figures
from vitnas.report.contents import Study, objectives
from vitnas.report.figures.style import plain
from vitnas.run import METRICS, Place, evaluations, searches
from vitnas.search.ledger import JOURNAL, TOP1, Follower, Record, Settings
from vitnas.search.records import once

if TYPE_CHECKING:
    from optuna import Study as Copy
    from optuna.storages import InMemoryStorage
    from optuna.trial import FrozenTrial
    from plotly.graph_objects import Figure

_log = logging.getLogger(__name__)

BEST = {"best-architectures": (0, 2), "next-best-architectures": (2, 4)}  # which are drawn where
MOST = 2_000  # trials drawn as dots; the page asks for all figures again and again
CARD = 470  # pixels: more of a figure the dashboard's cards cut off
STATES = {"complete": "COMPLETE", "stopped": "PRUNED", "running": "RUNNING", "failed": "FAIL"}


@dataclass
class _Followed:
    """A search of a run that is copied, and how far."""

    run: Path
    place: Place
    ledger: Follower
    seen: tuple[Any, ...] = ()
    fault: str = ""
    copy: Copy | None = None
    records: list[Record] = field(default_factory=list)


@dataclass
class Mirror:
    """Copies of all searches of some runs; `update` brings them up to date.

    Who reads the storage meanwhile holds the lock, or may find one half of a figure old and the
    other new.
    """

    runs: Sequence[Path]
    storage: InMemoryStorage = field(init=False)
    lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _followed: dict[Path, _Followed] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        from optuna.storages import InMemoryStorage

        self.storage = InMemoryStorage()

    def update(self) -> int:
        """Copy what is new; return how many searches had something new."""
        for run in self.runs:
            for place in (*searches(run), *evaluations(run)):
                if place.folder not in self._followed:
                    self._followed[place.folder] = _Followed(run, place, Follower(place.folder))
        return sum(self._update(followed) for followed in self._followed.values())

    def __len__(self) -> int:
        """How many searches are copied."""
        return sum(followed.copy is not None for followed in self._followed.values())

    def _update(self, followed: _Followed) -> bool:
        place = followed.place
        now = (_stamp(place.folder / JOURNAL), _stamp(place.run / METRICS))
        if now == followed.seen:
            return False
        followed.seen = now
        try:
            settings, fresh = followed.ledger.settings(), followed.ledger.news()
            if settings is None:
                raise InputError(f"{place.folder / JOURNAL} holds no search of vitnas")
        except InputError as error:
            if str(error) != followed.fault:  # told once
                _log.warning("%s", error)
            followed.fault = str(error)
            return False
        copy = followed.copy = followed.copy or self._create(followed, settings)
        followed.records += fresh  # copied with the next ones, if something fails here
        records = once(followed.records)
        drawn = list(dashboard_figures(place.run, Study(place.name, settings, records)))
        with self.lock:
            for record in records[len(copy.get_trials(deepcopy=False)) :]:
                copy.add_trial(as_trial(record, settings))
            for name, figure in drawn:
                _attach(copy, name, figure)
        return True

    def _create(self, followed: _Followed, settings: Settings) -> Copy:
        import optuna
        from optuna.exceptions import ExperimentalWarning
        from optuna.study import StudyDirection

        from vitnas.search.journal import quiet

        name = plain(f"{followed.run.resolve().name} / {followed.place.name}")
        known = {study.study_name for study in self.storage.get_all_studies()}
        if name in known:
            name = plain(f"{followed.run.resolve()} / {followed.place.name}", 300)
        minimized = [StudyDirection.MINIMIZE for _ in objectives(settings)]
        with quiet():
            copy = optuna.create_study(
                study_name=name,
                storage=self.storage,
                sampler=optuna.samplers.RandomSampler(seed=0),
                directions=[StudyDirection.MAXIMIZE, *minimized],
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            copy.set_metric_names([plain(settings.scorer), *map(plain, objectives(settings))])
        for key, value in _facts(settings):
            copy.set_user_attr(key, value)
        return copy


def as_trial(record: Record, settings: Settings) -> FrozenTrial:
    """Return a record as a trial of Optuna, with the summary of its architecture as parameters."""
    from optuna.trial import TrialState, create_trial

    from vitnas.search.summary import distributions, summary

    complete = record.state == "complete"
    values = [record.score, *(record.metrics[name] for name in objectives(settings))]
    trial = create_trial(
        state=TrialState[STATES[record.state]],
        values=values if complete else None,
        params=summary(settings.space, record.arch),
        distributions=distributions(settings.space),
        user_attrs={
            **record.metrics,
            **({} if record.at_most is None else {"at_most": record.at_most}),
            "origin": record.origin,
            "generation": record.generation,
            "parents": list(record.parents),
            "arch": record.arch.to_json(),
        },
    )
    if math.isfinite(record.ended):
        trial.datetime_complete = datetime.fromtimestamp(record.ended)
    if trial.datetime_complete is not None and math.isfinite(record.seconds):
        trial.datetime_start = trial.datetime_complete - timedelta(seconds=record.seconds)
    return trial


def dashboard_figures(run: Path, study: Study) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of a search, each with its name in the dashboard."""
    from vitnas.report.run import costs_of, front_costs, limit_of, score_of
    from vitnas.train.metrics import read_metrics

    score, records = score_of(study.settings.scorer), study.records
    shown = {study.name: records}
    for cost in costs_of([study]):
        if any(cost in record.metrics for record in records):
            limit = limit_of([study], cost)
            marked = published(study, cost)
            figure = figures.pareto(
                shown, cost=cost, limit=limit, marked=marked, score=score, most=MOST
            )
            yield f"score-against-{cost}", figure
    yield "best-so-far", figures.best_so_far(shown, score=score, most=MOST)
    volumes = figures.hypervolume_so_far(shown, costs=front_costs([study]), most=MOST)
    yield "hypervolume", volumes
    yield "choices-of-the-best-over-generations", figures.choices_over_generations(records)
    best = [(f"trial {r.number}: {r.score:.4g}", r.arch) for r in figures.elites(records)]
    for name, (start, end) in BEST.items():
        if best[start:end]:
            yield name, figures.compare_architectures(dict(best[start:end]))
    yield "lineage-of-the-best", figures.lineage(records, score=score)
    try:
        metrics = read_metrics(run / METRICS)
    except InputError as error:
        _log.warning("%s", error)
        return
    if metrics:
        yield "training-of-the-supernet", figures.training_curves(metrics)


def published(study: Study, cost: str) -> dict[str, tuple[float, float]]:
    """Return cost and accuracy of the published nets of the same space or of its variants.

    There are some if the search scores accuracy on ImageNet; theirs are those of the papers.
    """
    from vitnas.zoo import entries

    settings, space = study.settings, str(study.settings.space.name)
    if settings.scorer != TOP1 or "imagenet" not in settings.evaluated_on.lower():
        return {}
    return {
        entry.name: (getattr(entry, cost), entry.top1)
        for entry in entries().values()
        if f"{entry.space}-".startswith(f"{space}-") and cost in ("params", "macs")
    }


def _facts(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "strategy", settings.strategy
    yield "limits", " and ".join(map(str, settings.limits)) or "none"
    yield "space", str(settings.space.name or settings.space.family)
    yield "seed", str(settings.seed)
    yield "evaluated on", settings.evaluated_on


def _attach(study: Copy, name: str, figure: Figure) -> None:
    from optuna_dashboard import save_plotly_graph_object

    title = {"text": name.replace("-", " "), "x": 0, "yref": "container", "y": 1, "yanchor": "top"}
    named = sum(trace.name is not None and trace.showlegend is not False for trace in figure.data)
    # room for the title, and for a legend of which two entries stand in a row
    more = 40 + 20 * max(-(-named // 2) - 1, 0) * (figure.layout.showlegend is not False)
    figure.update_layout(
        title={**title, "pad": {"t": 12}, "font": {"size": 15}},
        margin={"t": figure.layout.margin.t + more},
        height=min(figure.layout.height + more, CARD),
    )
    save_plotly_graph_object(study, figure, graph_object_id=name)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns

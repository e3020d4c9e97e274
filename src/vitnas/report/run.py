"""The report of a run: what was trained and searched on what, and what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.report import figures
from vitnas.report.contents import Contents, Study, entry, number, objectives, read_contents
from vitnas.report.explore import explored
from vitnas.report.figures.style import evaluated, finite, plain
from vitnas.report.guesses import by_proxies, measured, prediction
from vitnas.report.nets import Net, nets
from vitnas.report.page import (
    Details,
    Explorer,
    Facts,
    Figure,
    Heading,
    Section,
    Table,
    Text,
    write_report,
)
from vitnas.report.tables import as_text
from vitnas.search.ledger import TOP1

if TYPE_CHECKING:
    from vitnas.search.ledger import Record
    from vitnas.search.limits import Limit
    from vitnas.search.space_evolution_round import Round

SCORE = "top-1 on the search split, %"
SHOWN = 20_000  # characters of config.yaml


def report_run(run: str | Path, facts: Mapping[str, str] | None = None) -> Path:
    """Write `report.html` into the folder of a run from whatever lies there; return its path.

    `facts` are told in the header beside what the run itself records, for example the machine.
    Parts that are missing or damaged are left out, and the page names them.

    Raises:
        InputError: the folder holds nothing to report, or the page can't be written.
    """
    run = Path(run)
    contents = read_contents(run)
    title = f"vitnas run {plain(run.resolve().name)}"
    return write_report(run, run_sections(contents, facts or {}), title=title)


def run_sections(contents: Contents, facts: Mapping[str, str]) -> Iterator[Section]:
    """Yield the sections of the report of a run."""
    yield Facts((*_facts(contents), *facts.items()))
    if contents.missing:
        yield Text(f"Not in this report: {'; '.join(contents.missing)}.")
    found = nets(contents)
    if found:
        yield from _comparison(found)
    if contents.evolution:
        yield from _evolution(contents.evolution)
    # accuracies and scores of proxies don't go together
    if told := measured(contents.studies) or contents.studies:
        yield Heading("Explore the searches")
        yield Text(
            "What is chosen here holds for all figures of subnets below. A click on a dot, or on a "
            "row, tells its architecture and its ancestors; two can be compared."
        )
        yield Explorer(explored(told, costs_of(told)))
    if searches := measured(contents.studies):
        yield from _search(searches, found)
    yield from by_proxies(contents.studies)
    if found:
        yield from _architectures({net.row.name: net.arch for net in found})
    if contents.metrics:
        yield Heading(f"Training of the supernet{_of(contents)}")
        yield Figure(
            figures.training_curves(contents.metrics),
            "Loss on the training split; accuracies of subnets on the search split.",
        )
    if contents.config:
        more = "\n…" if len(contents.config) > SHOWN else ""
        what = f"config.yaml{_of(contents)}, which repeats the training"
        yield Details(what, contents.config[:SHOWN] + more)


def _facts(contents: Contents) -> Iterator[tuple[str, str]]:
    supernet, recipe = contents.supernet, contents.recipe
    data = plain(entry(supernet, "data", "name") or recipe.get("data") or "not recorded")
    yield "data", data
    yield "trained on", _split(supernet, "train", "weights were trained on nothing else")
    yield "selected on", _split(supernet, "search", "held out of training")
    yield "tested on", _split(supernet, "test", _tested(contents))
    training = [
        f"{name.replace('_', ' ')} {plain(value)}"
        for name in ("epochs", "batch_size", "seed", "precision")
        if (value := recipe.get(name)) is not None
    ]
    if training:
        space = recipe.get("space")
        named = f"space {plain(space)}, " if isinstance(space, str) else ""
        yield f"supernet{_of(contents)}", named + ", ".join(training)
    for study in contents.studies:
        yield f"search {plain(study.name)}", _study(study)


def _of(contents: Contents) -> str:
    return f" of {contents.trained}" if contents.trained else ""


def _split(supernet: Mapping[str, Any], name: str, remark: str) -> str:
    images = number(supernet, "data", "images", name)
    how = entry(supernet, "data", "how", name)
    count = f"{name} split" if images is None else f"{name} split, {images:,.0f} images"
    source = f" ({plain(how)})" if isinstance(how, str) else ""
    return f"{count}{source}: {remark}"


def _tested(contents: Contents) -> str:
    tested = [
        plain(model.name)
        for model in contents.models
        if number(model.config, "metrics", "test", "top1") is not None
    ]
    return f"evaluated for {', '.join(tested)}" if tested else "not evaluated so far"


def _study(study: Study) -> str:
    settings = study.settings
    done, stopped = len(evaluated(study.records)), _stopped(study.records)
    failed = sum(record.state == "failed" for record in study.records)
    parts = [
        f"{plain(settings.strategy)}, {done:,} subnets evaluated"
        + (f", {stopped:,} of them not to the end" if stopped else ""),
        *([f"{failed:,} evaluations failed or interrupted"] if failed else []),
        " and ".join(map(str, settings.limits)) or "no limit",
        *([f"latency {table.settings}, {table.error}"] if (table := study.latency) else []),
        f"seed {settings.seed}",
        *filter(None, [prediction(study)]),
        f"ranked on {plain(settings.evaluated_on, 200) or 'a score that is not recorded'}",
    ]
    return "; ".join(parts)


def _stopped(records: Sequence[Record]) -> int:
    return sum(record.state == "stopped" for record in records)


def _comparison(found: Sequence[Net]) -> Iterator[Section]:
    headings, lines = as_text([net.row for net in found])
    yield Heading("Comparison")
    yield Table(
        headings,
        lines,
        "Top-1 accuracy in percent. “Inherited” is with the supernet's weights as they are. "
        "Searched nets were chosen by their accuracy on the search split, so that figure flatters "
        "them; accuracy on test did not choose anything.",
    )


def _search(studies: Sequence[Study], found: Sequence[Net]) -> Iterator[Section]:
    records = {study.name: study.records for study in studies}
    pooled = [record for study in studies for record in study.records]
    yield Heading("Search")
    scored = {study.settings.evaluated_on for study in studies}
    if len(scored) > 1:
        yield Text(
            "Careful: these searches were not scored on the same images with the same weights, "
            "so their scores can't be compared."
        )
    if stopped := _stopped(pooled):
        yield Text(
            f"{stopped:,} evaluations were stopped early, as soon as it was certain that the "
            "subnet is not among the best five and that another one is more accurate at no higher "
            "cost. They have no accuracy and are not drawn; the best and the Pareto fronts are "
            "those of all subnets."
        )
    drawn = "subnets evaluated to the end" if stopped else "subnets evaluated"
    for cost in costs_of(studies):
        if not any(cost in record.metrics for record in pooled):
            continue
        marks = {
            row.name: (known, row.inherited_search)
            for row in (net.row for net in found)
            if row.inherited_search is not None and (known := getattr(row, cost, None)) is not None
        }
        limit = limit_of(studies, cost)
        figure = figures.pareto(records, cost=cost, limit=limit, marked=marks, score=SCORE)
        yield Figure(figure, f"All {drawn}, with inherited weights.")
    yield Figure(
        figures.best_so_far(records, score=SCORE), f"Line: the best so far. Dots: all {drawn}."
    )
    yield Figure(figures.hypervolume_so_far(records, costs=front_costs(studies)), _volume(studies))
    if any(record.state == "complete" and finite(record.score) for record in pooled):
        yield Figure(
            figures.choices_of_elites(pooled),
            f"Which values the best tenth of all {drawn} took, gene by gene; num_heads 2 is that "
            "of layer 2.",
        )


def costs_of(studies: Sequence[Study]) -> list[str]:
    """Return what subnets are drawn against: params, MACs, and what was limited or minimized."""
    limited = [limit.metric for study in studies for limit in study.settings.limits]
    return list(dict.fromkeys(["params", "macs", *limited, *front_costs(studies)]))


def limit_of(studies: Sequence[Study], cost: str) -> Limit | None:
    """Return the limit on a cost, None if the searches have none or different ones."""
    limits = {limit for study in studies for limit in study.settings.limits if limit.metric == cost}
    return limits.pop() if len(limits) == 1 else None


def score_of(scorer: str) -> str:
    """Return what the scores of a search are, for an axis."""
    return SCORE if scorer == TOP1 else f"{plain(scorer)}, no accuracy"


def front_costs(studies: Sequence[Study]) -> tuple[str, ...]:
    """Return the costs of the front: those that most objectives of a search are, else the MACs."""
    minimized = (objectives(study.settings) for study in studies)
    return max(minimized, key=len, default=()) or ("macs",)


def _volume(studies: Sequence[Study]) -> str:
    costs = " and ".join(front_costs(studies))
    return (
        f"Hypervolume of top-1 against {costs}: the share that the front dominates of the box "
        "between the worst of each among all trials drawn here, the reference point, and the best "
        "of each. Markers: ends of generations."
    )


def _evolution(rounds: Sequence[Round]) -> Iterator[Section]:
    yield Heading("Evolution of the search space")
    columns = ("round", "E-T error", "expected", "top tier", "subnets", "moved")
    rows = tuple(_round(found) for found in rounds)
    yield Table(
        columns,
        rows,
        "Errors in percent on the search split, with inherited weights: of all subnets drawn under "
        "the budget (expected), of the best of them, and the mean of the two. Each round has its "
        "own supernet, which starts from the weights of the one before, so a part of what gets "
        "better may be longer training. What the last round moved was not tried.",
    )
    caption = (
        "The spaces of all rounds, one panel a gene (and stage): the values, coloured by the E-T "
        "error of the subnets that take them."
    )
    narrow = figures.spaces_of_rounds(rounds, columns=1)
    yield Figure(figures.spaces_of_rounds(rounds), caption, narrow=narrow)
    told = [
        f"round {found.number}, {move.dimension.name} {list(move.old)}: {move.why}"
        for found in rounds
        for move in found.moves
        if len(move.old) > 1
    ]
    yield Details("why each gene moved or stayed", "\n".join(map(_line, told)))


def _round(found: Round) -> tuple[str, ...]:
    quality = found.quality
    errors = (quality.error, quality.expected, quality.top_tier)
    moved = sum(move.new != move.old for move in found.moves)
    told = f"{moved} of {len(found.moves)}" + (", refused" if found.refused else "")
    return (
        str(found.number),
        *(f"{error:.2f}" for error in errors),
        f"{quality.subnets:,}",
        told,
    )


def _line(text: str) -> str:
    return plain(text, 300)


def _architectures(archs: Mapping[str, Arch]) -> Iterator[Section]:
    yield Heading("Architectures")
    yield Figure(
        figures.compare_architectures(archs, columns=min(len(archs), 4)),
        "Layer by layer from the input down. The dotted line is embed_dim.",
        narrow=figures.compare_architectures(archs, columns=1),
    )

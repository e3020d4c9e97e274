"""What is no measured accuracy in a report: scores of zero-cost proxies, guesses of predictors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitnas.report import figures
from vitnas.report.contents import Study
from vitnas.report.figures.style import plain
from vitnas.report.page import Figure, Heading, Section, Text
from vitnas.search.ledger import TOP1
from vitnas.search.predictor import agreement


def measured(studies: Sequence[Study]) -> list[Study]:
    """Return the searches whose scores are accuracies."""
    return [study for study in studies if study.settings.scorer == TOP1]


def by_proxies(studies: Sequence[Study]) -> Iterator[Section]:
    """Yield what searches by a zero-cost proxy found, each proxy for itself."""
    proxies = dict.fromkeys(study.settings.scorer for study in studies)
    for scorer in proxies:
        if scorer == TOP1:
            continue
        records = {s.name: s.records for s in studies if s.settings.scorer == scorer}
        name = plain(scorer)
        yield Heading(f"Search by the zero-cost proxy {name}")
        yield Text(
            "These scores are of untrained networks. They are no accuracies and can't be compared "
            "with any; how well they order subnets is known only where accuracy was measured too."
        )
        for cost in ("params", "macs"):
            if any(cost in record.metrics for group in records.values() for record in group):
                figure = figures.pareto(records, cost=cost, score=f"{name}, no accuracy")
                yield Figure(figure, f"All subnets scored by {name}.")


def prediction(study: Study) -> str:
    """Say what chose among the proposals of a search and how right it was, "" if nothing did."""
    settings = study.settings
    if not settings.predictor:
        return ""
    found = agreement(study.records)
    told = str(found) if found else "too few subnets to say how well it predicts"
    chosen = f"each the best of {settings.oversample} by predictor {plain(settings.predictor)}"
    return f"{chosen}, {told}"

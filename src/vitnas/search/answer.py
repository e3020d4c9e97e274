"""What a search has to show for itself: its best, its front, or a network for each target."""

from __future__ import annotations

from collections.abc import Sequence

from vitnas.errors import InputError
from vitnas.search.ledger import Record, Settings
from vitnas.search.limits import Costs, Limit
from vitnas.search.pareto import front
from vitnas.search.racing import KEPT
from vitnas.search.slimming import slimmed


def ranked(records: Sequence[Record]) -> list[Record]:
    """Return the complete trials, best first.

    That is the higher score; of equals the lower loss on the same images, then the earlier. A small
    search split has few distinct accuracies, so equals are common.
    """
    complete = (record for record in records if record.state == "complete")
    return sorted(complete, key=lambda r: (-r.score, r.metrics.get("loss", 0.0), r.index))


def best(records: Sequence[Record]) -> Record:
    """Return the best trial; those without a score, as those that were stopped, don't count."""
    return ranked(records)[0]


def answers(settings: Settings, records: Sequence[Record], costs: Costs) -> list[Record]:
    """Return the trials that a search was for, the first of them the one to take by default.

    Of slimming these are the networks of its targets, the last target's first; of a search for a
    front, as nsga2, the front, best score first; else the best five.
    """
    if settings.strategy == "slimming" and settings.options["targets"]:
        met = reversed(slimmed(settings, records, costs).values())
        return list({record.number: record for record in met}.values())  # one may meet several
    scored = ranked(records)
    minimize = settings.options.get("minimize", ())
    if not minimize:
        return scored[:KEPT]
    points = [(r.score, *(r.metrics[name] for name in minimize)) for r in scored]
    found = front(points, (True, *[False] * len(minimize)))
    distinct = {points[index]: index for index in reversed(found)}
    return [scored[index] for index in sorted(distinct.values())]


def chosen(
    settings: Settings, records: Sequence[Record], costs: Costs, trial: int | None = None
) -> Record:
    """Return the trial of this number, or the first answer of a search.

    Raises:
        InputError: there is no such trial with a score, nothing that the search was for, or
            slimming had no target, so that none of its networks is the one to take.
    """
    scored = {record.number: record for record in ranked(records)}
    if trial is not None:
        if trial not in scored:
            raise InputError(f"the search has no trial {trial} with a score")
        return scored[trial]
    if settings.strategy == "slimming" and not settings.options["targets"]:
        raise InputError("slimming without targets has no best network; name one with --trial")
    found = answers(settings, records, costs)
    if not found:
        targets = settings.options["targets"]
        limit = Limit(settings.options["cost"], maximum=targets[0])
        raise InputError(f"slimming has not met {limit} yet; repeat it, or name a --trial")
    return found[0]

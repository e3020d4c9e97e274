"""Costs by name: what can be limited, minimised, and recorded with every architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.cost.conventions import CONVENTIONS, convention
from vitnas.cost.exact import counters
from vitnas.errors import unknown

if TYPE_CHECKING:
    from vitnas.cost.conditions import Settings
    from vitnas.cost.table import LatencyTable

METRICS = ("params", "macs", "latency", "memory")


def check_metrics(names: Iterable[str]) -> None:
    """Check that there are metrics of these names: `METRICS`, and the originals' `CONVENTIONS`.

    Raises:
        InputError: one is unknown.
    """
    known = (*METRICS, *CONVENTIONS)
    for name in names:
        if name not in known:
            raise unknown("metric", name, known)


def metrics(
    names: Iterable[str],
    options: Mapping[str, Any],
    *,
    settings: Settings | None = None,
    table: LatencyTable | None = None,
) -> dict[str, Callable[[Arch], float]]:
    """Return `params`, `macs` and the named metrics of models of the same options, by name.

    Args:
        names: of `METRICS`, or of `CONVENTIONS`.
        options: of the models, as for `vitnas.build`.
        settings: where and how the models run; memory needs them.
        table: latency is what it says.

    Raises:
        InputError: a metric is unknown.
        ValueError: memory without settings, or latency without a table.
    """
    wanted = list(names)
    check_metrics(wanted)
    found: dict[str, Callable[[Arch], float]] = {**counters(**options)}
    for name in wanted:
        if name == "latency":
            if table is None:
                raise ValueError("latency needs a table")
            found[name] = table
        elif name == "memory":
            if settings is None:
                raise ValueError("memory needs settings")
            from vitnas.cost.activations import peak

            found[name] = partial(peak, options=dict(options), settings=settings)
        elif name in CONVENTIONS:
            found[name] = partial(convention, name, **options)
    return found

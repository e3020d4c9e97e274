"""What a space evolution shows: while it runs, and at its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vitnas.cli.log import say, table

if TYPE_CHECKING:
    from vitnas.cli.progress import SearchProgress
    from vitnas.search.ledger import Record
    from vitnas.search.space_evolution_round import Round

logger = logging.getLogger(__name__)


class RoundProgress:
    """A progress bar for the evaluations of a round, and a line for each round's end."""

    def __init__(self, subnets: int) -> None:
        self._subnets = subnets
        self._bar: SearchProgress | None = None

    def __enter__(self) -> RoundProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.__exit__()
            self._bar = None

    def trial(self, record: Record) -> None:
        """Count an evaluation."""
        from vitnas.cli.progress import SearchProgress

        if self._bar is None:
            self._bar = SearchProgress(self._subnets)
        self._bar(record)

    def round(self, found: Round) -> None:
        """End the bar and log what the round found out."""
        self.__exit__()
        quality = found.quality
        logger.info(
            "round %d: E-T error %.2f %% of %d subnets; moves: %s",
            found.number,
            quality.error,
            quality.subnets,
            _moved(found) or "none",
        )


def show(done: Sequence[Round]) -> None:
    """Print the E-T error of every round, and where each dimension has gone."""
    rows = [
        [
            str(found.number),
            *(f"{value:.2f}" for value in _errors(found)),
            str(found.quality.subnets),
            f"{found.space.size():.3g}",
        ]
        for found in done
    ]
    columns = ["round", "E-T error", "expected", "top tier", "subnets", "space"]
    table("Errors of the spaces in percent, on the search split", columns, rows)
    say("")
    first, last = (_lists(found) for found in (done[0], done[-1]))
    lines = [
        [name, _text(first.get(name, ())), _text(values) if values != first.get(name) else "same"]
        for name, values in last.items()
        if len(values) > 1 or len(first.get(name, ())) > 1
    ]
    table("Values", ["gene", "start", "end"], lines, left=3)
    final = done[-1]
    if final.refused:
        say(f"the last moves were refused: {final.refused}")
    if final.next != final.space:
        say(f"still moving: {_moved(final)}; the same command with more --rounds goes on")


def _moved(found: Round) -> str:
    return ", ".join(move.dimension.name for move in found.moves if move.new != move.old)


def _errors(found: Round) -> tuple[float, float, float]:
    return found.quality.error, found.quality.expected, found.quality.top_tier


def _lists(found: Round) -> Mapping[str, tuple[Any, ...]]:
    return {move.dimension.name: move.old for move in found.moves}


def _text(values: tuple[Any, ...]) -> str:
    return ", ".join(map(str, values))

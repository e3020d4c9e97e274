"""Any strategy with a predictor: of several proposals the most promising one is evaluated.

The strategy is asked for `oversample` proposals; the predictor orders them; the best is proposed
and the others are skipped, which the strategy takes as if it had never proposed them. So it learns
from measured scores alone, its schedule counts evaluations, and what was skipped may come again
when the predictor knows more.

What counts against a strategy's own limit of outstanding proposals counts while they are compared,
too: where it waits, the choice is among fewer. A predictor that learns lets 16 be outstanding at
most, as it can't choose well before scores have come in; and no more than the 20 scores that it
learns from until it has them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.predictor import LEAST, Predictor
from vitnas.search.searcher import Lineage, Searcher, Waiting

OUTSTANDING = 16
REFIT = 1.1  # fitted anew when there are so many times as many scores


class Assisted:
    """A `Searcher` around another one. Its lineages hold what was predicted."""

    def __init__(self, searcher: Searcher, predictor: Predictor, oversample: int) -> None:
        self._searcher, self._predictor, self._oversample = searcher, predictor, oversample
        self._predicted: dict[Arch, float | None] = {}  # in the order proposed
        self._scores: dict[Arch, float] = {}
        self._fitted, self._ready = 0, False

    def ask(self) -> Arch | None:
        """Propose the most promising of some proposals."""
        self._learn()
        outstanding, lacking = len(self._predicted) - len(self._scores), LEAST - len(self._scores)
        if self._predictor.learns and outstanding >= (lacking if lacking > 0 else OUTSTANDING):
            raise Waiting(f"waits for {outstanding} scores")
        drawn = self._draw(self._oversample if self._ready else 1)
        if not drawn:
            return None
        if not self._ready:
            self._predicted[drawn[0]] = None
            return drawn[0]
        values = self._predictor.predict(drawn)
        chosen = max(range(len(drawn)), key=values.__getitem__)
        for index, arch in enumerate(drawn):
            if index != chosen:
                self._searcher.skip(arch)
        self._predicted[drawn[chosen]] = values[chosen]
        return drawn[chosen]

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        """Accept a score."""
        self._searcher.tell(arch, score, metrics)
        self._scores[arch] = score

    def skip(self, arch: Arch) -> None:
        """Forget a proposal."""
        self._searcher.skip(arch)
        del self._predicted[arch]

    def bar(self) -> float:
        """Return the strategy's own; -inf if the predictor learns, as each score changes it."""
        return -math.inf if self._predictor.learns else self._searcher.bar()

    def lineage(self, arch: Arch) -> Lineage:
        """Return the strategy's, with what was predicted."""
        found = self._searcher.lineage(arch)
        return dataclasses.replace(found, predicted=self._predicted[arch])

    def _draw(self, count: int) -> list[Arch]:
        """Return up to so many proposals, none at the end.

        Raises:
            Waiting: there is none now.
        """
        drawn: list[Arch] = []
        while len(drawn) < count:
            try:
                arch = self._searcher.ask()
            except Waiting:
                if not drawn:
                    raise
                break
            if arch is None:
                break
            drawn.append(arch)
        return drawn

    def _learn(self) -> None:
        """Fit the predictor to all scores, in the order proposed, when they have grown enough."""
        if self._ready and len(self._scores) < max(REFIT * self._fitted, self._fitted + 1):
            return
        archs = [arch for arch in self._predicted if arch in self._scores]
        self._ready = self._predictor.fit(archs, [self._scores[arch] for arch in archs])
        self._fitted = len(archs)


def assist(
    searcher: Searcher, predictor: Predictor, oversample: int, options: Mapping[str, Any]
) -> Assisted:
    """Put a predictor before a searcher that was made with these options.

    Raises:
        InputError: there is nothing to choose among.
    """
    if oversample < 2:
        raise InputError(f"oversample is {oversample}, it must be at least 2 to choose among")
    for name in ("concurrency", "neighbours"):
        most = options.get(name)
        if isinstance(most, int) and most < oversample:
            raise InputError(
                f"a predictor is to choose among {oversample} proposals, but {name} is {most}: "
                "raise it, or lower oversample"
            )
    return Assisted(searcher, predictor, oversample)

"""What every strategy keeps: its proposals, which of them are outstanding, and the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vitnas.arch import Arch
from vitnas.search.searcher import Lineage, Waiting


class Proposals:
    """The part of a `Searcher` that is the same for all: derive from it, and add `ask` and `bar`.

    `give_back` is called with each proposal that is skipped, and puts it back where proposals come
    from.
    """

    def __init__(self, give_back: Callable[[Arch], None]) -> None:
        self._give_back = give_back
        self._lineages: dict[Arch, Lineage] = {}  # in the order proposed
        self._outstanding: set[Arch] = set()
        self._scores: dict[Arch, float] = {}

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        """Accept a score."""
        self._answer(arch)
        self._scores[arch] = score

    def skip(self, arch: Arch) -> None:
        """Forget a proposal."""
        self._forget(arch)

    def lineage(self, arch: Arch) -> Lineage:
        """Return where a proposal comes from."""
        return self._lineages[arch]

    def _propose(self, arch: Arch, lineage: Lineage) -> Arch:
        self._lineages[arch] = lineage
        self._outstanding.add(arch)
        return arch

    def _forget(self, arch: Arch) -> Lineage:
        self._answer(arch)
        self._give_back(arch)
        return self._lineages.pop(arch)

    def _answer(self, arch: Arch) -> None:
        if arch not in self._outstanding:
            raise ValueError(f"{arch!r} is not outstanding: it can't be told or skipped")
        self._outstanding.remove(arch)

    def _scored(self) -> list[Arch]:
        """Return the architectures with a score in the order proposed, whatever that of tells."""
        return [arch for arch in self._lineages if arch in self._scores]

    def _end(self) -> Arch | None:
        """Return None, the end, unless an outstanding proposal may still be given back.

        Raises:
            Waiting: it may.
        """
        if self._outstanding:
            raise Waiting(f"waits for {len(self._outstanding)} scores")
        return None

from __future__ import annotations

from vitnas.search.random_search import make
from vitnas.testing.searchers import SMALL


def test_seeds_differ_and_scores_change_nothing() -> None:
    def archs(seed: int, score: float) -> list[object]:
        searcher = make(SMALL, lambda arch: True, seed)
        found: list[object] = []
        for _ in range(20):
            arch = searcher.ask()
            assert arch is not None
            searcher.tell(arch, score)
            found.append(arch)
        return found

    assert archs(0, 1.0) == archs(0, 2.0) != archs(1, 1.0)


def test_its_origin_is_random() -> None:
    searcher = make(SMALL, lambda arch: True, 0)
    arch = searcher.ask()
    assert arch is not None
    assert searcher.lineage(arch).origin == "random"

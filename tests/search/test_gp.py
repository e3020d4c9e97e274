from __future__ import annotations

import sys

import pytest

from vitnas.errors import InputError
from vitnas.search.gp import Options, make
from vitnas.search.limits import Limit, Window
from vitnas.space import Choice, Space
from vitnas.testing.searchers import TINY, cost, score

from .strategies import every, run

SMOOTH = Space(
    "toy",
    (Choice("depth", (1,)), Choice("heads", tuple(range(1, 31))), Choice("width", (8, 16, 24))),
)


def test_it_finds_the_top_of_a_smooth_score() -> None:
    """Among 90 architectures, in 18 evaluations; without a model that is one chance in five."""
    archs = run(make(SMOOTH, every, 0), 18, lambda arch: arch.width - (arch.heads - 19) ** 2)
    assert any((arch.heads, arch.width) == (19, 24) for arch in archs)


def test_the_process_takes_over_after_the_start() -> None:
    searcher = make(TINY, every, 0, startup=5)
    archs = run(searcher, 12)
    origins = [searcher.lineage(arch).origin for arch in archs]
    assert origins[:5] == ["random"] * 5
    assert "gp" in origins
    assert set(origins) <= {"random", "gp", "near gp"}


def test_infeasible_suggestions_lead_to_feasible_ones_nearby() -> None:
    window = Window((Limit("params", 1900, 2100),), {"params": cost})
    members = set(filter(window, TINY))
    searcher = make(TINY, window, 0, startup=3)
    archs = run(searcher, 168)
    assert set(archs) == members
    assert len(archs) == len(members)


def test_a_replay_suggests_the_same() -> None:
    first = run(make(TINY, every, 4, startup=6), 14)
    again = make(TINY, every, 4, startup=6)
    assert run(again, 10) == first[:10]
    assert run(again, 4) == first[10:]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(InputError) as error:
        make(TINY, every, 0)
    assert str(error.value) == (
        "strategy gp needs the package scipy: install it, or take strategy tpe"
    )


def test_every_score_matters() -> None:
    searcher = make(TINY, every, 0)
    run(searcher, 30 - 22, score)
    assert searcher.bar() == -float("inf")


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="startup is 0, it must be at least 1"):
        Options(startup=0)

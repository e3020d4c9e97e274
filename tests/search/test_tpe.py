from __future__ import annotations

from collections import Counter

import pytest

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.limits import Limit, Window
from vitnas.search.random_search import make as make_random
from vitnas.search.searcher import Waiting
from vitnas.search.tpe import GOOD, Options, make
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, cost, score

from .strategies import every, rank_of_best, run


def test_it_finds_the_best_of_a_space_and_beats_random_search() -> None:
    """Among 10,880 architectures, in 120 evaluations."""
    assert rank_of_best(run(make(SMALL, every, 0), 120)) == 0
    assert rank_of_best(run(make_random(SMALL, every, 0), 120)) > 0


def test_the_model_takes_over_after_the_start() -> None:
    searcher = make(SMALL, every, 0, startup=12)
    archs = run(searcher, 40)
    origins = [searcher.lineage(arch).origin for arch in archs]
    assert origins[:12] == ["random"] * 12
    assert Counter(origins[12:])["tpe"] > 14


def test_infeasible_suggestions_lead_to_feasible_ones_nearby() -> None:
    window = Window((Limit("params", 2000, 2100),), {"params": cost})
    assert sum(map(window, SMALL)) == 16  # of 10,880
    searcher = make(SMALL, window, 0, startup=2)
    archs = run(searcher, 100)
    assert set(archs) == set(filter(window, SMALL))
    assert len(archs) == len(set(archs))
    assert "near tpe" in {searcher.lineage(arch).origin for arch in archs}


def test_so_many_are_outstanding_at_once() -> None:
    searcher = make(SMALL, every, 0, startup=4, concurrency=3)
    archs = [searcher.ask() for _ in range(4)]
    with pytest.raises(Waiting):
        searcher.ask()
    for arch in archs[:2]:
        assert arch is not None
        searcher.tell(arch, score(arch))
    assert searcher.ask() is not None
    with pytest.raises(Waiting):
        searcher.ask()


def test_no_score_below_the_bar_matters_however_low() -> None:
    true, below = make(SMALL, every, 3), make(SMALL, every, 3)
    changed = 0
    for _ in range(70):
        arch = true.ask()
        assert arch == below.ask()
        assert arch is not None
        bar = below.bar()
        assert (bar > -1e9) == (len(true._scores) >= GOOD)
        true.tell(arch, score(arch))
        below.tell(arch, score(arch) - 1000 * (score(arch) < bar))
        changed += score(arch) < bar
    assert changed > 10


def test_the_good_ones_of_optuna_are_as_many_as_the_bar_takes() -> None:
    from optuna.samplers._tpe.sampler import default_gamma

    assert max(map(default_gamma, range(10_000))) == GOOD


def test_names_and_fixed_genes() -> None:
    space = Space(
        "toy",
        (
            Choice("depth", (1, 2, 3)),
            Choice("norm", ("pre", "post"), "block"),
            Choice("width", (8,)),
            Choice("heads", (1, 2, 4), "block"),
        ),
    )

    def value(arch: Arch) -> float:
        return float(arch.norm.count("pre") + sum(arch.heads) - 2.5 * arch.depth)

    searcher = make(space, every, 0)
    archs = run(searcher, 80, value)
    assert len(set(archs)) == 80
    assert max(map(value, archs)) == max(map(value, space))


def test_a_space_as_large_as_a_real_one() -> None:
    space = vitnas.space("autoformer-tiny")
    archs = run(make(space, every, 0), 20, lambda arch: -sum(arch.num_heads))
    assert all(arch in space for arch in archs)
    assert len(set(archs)) == 20


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InputError) as error:
        Options(startup=0, proposals=0, concurrency=0)
    assert str(error.value) == (
        "startup is 0, it must be at least 1; proposals is 0, it must be at least 1; "
        "concurrency is 0, it must be at least 1"
    )

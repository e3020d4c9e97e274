from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vitnas.errors import InputError
from vitnas.search.limits import Window
from vitnas.search.searcher import (
    STRATEGIES,
    find_strategy,
    make_searcher,
    most_trials,
    read_options,
)
from vitnas.testing.searchers import SMALL, TINY, cost, score


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_names_its_module_options_and_purpose(name: str) -> None:
    strategy = find_strategy(name)
    assert strategy.summary
    assert strategy.options() is not None
    assert make_searcher(name, TINY, Window((), {"macs": cost}), 0).ask() in TINY


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("evolutoin", {}, "unknown search strategy 'evolutoin'; did you mean 'evolution'?"),
        ("evolution", {"populaton": 9}, "unknown option of strategy evolution 'populaton'; did"),
        ("random", {"population": 9}, "unknown option of strategy random 'population'"),
        ("evolution", {"population": "many"}, "option population of strategy evolution is 'many'"),
        ("evolution", {"reading": "book"}, "option reading of strategy evolution is 'book': "),
        ("evolution", {"population": 0}, "population is 0, it must be at least 1"),
        ("slimming", {"targets": ["1G", "2G"]}, "targets are 1G, 2G; they must fall"),
        ("slimming", {"targets": ["1Q"]}, "'1Q' has the unknown unit 'Q'"),
    ],
)
def test_wrong_names_and_options_are_told_in_one_line(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as error:
        read_options(name, options)
    assert str(error.value).startswith(message)


def test_options_come_back_with_their_defaults() -> None:
    options = read_options("evolution", {"population": "60"})
    assert options["population"] == 60
    assert options["parents"] == 10


def _run(code: str, hash_seed: str = "0") -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("evolution", {"population": 5, "parents": 2, "mutants": 2, "crossovers": 2}),
        ("mmrazor", {"max_epochs": 3, "num_candidates": 6, "num_mutation": 2, "num_crossover": 2}),
        ("nsga2", {"population": 4, "generations": 3, "minimize": ()}),
        ("regularized", {"population": 4, "sample": 2, "cycles": 11}),
        ("grid", {}),
        ("slimming", {}),
        ("random", {}),
    ],
)
def test_how_many_it_proposes_is_known_where_its_schedule_says(
    name: str, options: dict[str, object]
) -> None:
    space = TINY if name == "grid" else SMALL
    known = most_trials(name, options, space)
    if name in ("slimming", "random"):
        assert known is None
        return
    searcher = make_searcher(name, space, lambda arch: True, 0, options)
    count = 0
    while (arch := searcher.ask()) is not None:
        searcher.tell(arch, score(arch))
        count += 1
    assert count == known


def test_importing_search_imports_neither_torch_nor_optuna() -> None:
    code = """
import sys
import vitnas.search.study, vitnas.search.evolution, vitnas.search.random_search
import vitnas.search.nsga2, vitnas.search.slimming, vitnas.search.prior
import vitnas.search.tpe, vitnas.search.gp, vitnas.search.local, vitnas.search.grid
import vitnas.search.pareto, vitnas.search.ranking, vitnas.testing.searchers
print({"torch", "optuna", "scipy", "sklearn", "pydantic", "deap", "moocore"} & set(sys.modules))
"""
    assert _run(code).strip() == "set()"


def test_proposals_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    code = """
from vitnas.search.limits import Window
from vitnas.search.limits import Limit, Window
from vitnas.search.searcher import STRATEGIES, make_searcher
from vitnas.testing.searchers import SMALL, cost, score
window = Window((Limit("macs", 500),), {"macs": cost})
options = {"gp": {"startup": 68}, "tpe": {"startup": 60}}
for name in STRATEGIES:
    searcher = make_searcher(name, SMALL, window, 0, options.get(name))
    for _ in range(70):
        arch = searcher.ask()
        searcher.tell(arch, score(arch), {"macs": cost(arch)})
        print(arch)
"""
    first, second = _run(code, "1"), _run(code, "2")
    assert first == second
    assert first.count("\n") == 70 * len(STRATEGIES)

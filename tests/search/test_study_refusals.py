"""What a search refuses: bad settings, bad results, and ledgers of other searches."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.ledger import JOURNAL, read
from vitnas.search.limits import Limit
from vitnas.search.racing import Hopeless, Result, one_by_one
from vitnas.testing.searchers import SMALL, cost, score

from .interrupted import COSTS, evaluate, run, untouched


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"score": math.nan}, "evaluate returned score nan, no finite number, for Arch('toy', "),
        ({"score": math.inf}, "evaluate returned score inf, no finite number, for Arch('toy', "),
        ({"score": "good"}, "evaluate returned score 'good', no finite number, for Arch("),
        ({"score": 1, "top5": math.nan}, "evaluate returned top5 nan, no finite number, for Arch("),
        ({"top1": 1.0}, "evaluate returned {'top1': 1.0}, without a score, for Arch('toy', "),
        (0.5, "evaluate returned 0.5, without a score, for Arch('toy', "),
        ({"score": 1, "at_most": 2}, "evaluate returned {'score': 1, 'at_most': 2}, without a sco"),
        ({"at_most": -99}, "evaluate stopped Arch('toy', "),
        ({"score": 1, "params": 2}, "evaluate returned params: the ledger uses these names"),
        ({"score": 1, "arch": 2}, "evaluate returned arch: the ledger uses these names"),
    ],
)
def test_a_result_without_a_proper_score_is_told_in_one_line(
    tmp_path: Path, result: Any, message: str
) -> None:
    with pytest.raises(InputError) as error:
        run(tmp_path, evaluate=one_by_one(lambda arch: result), together=1)
    assert str(error.value).startswith(message)
    assert [record.state for record in read(tmp_path)[1]] == ["failed"]


@pytest.mark.parametrize("results", [[], [{"score": 1.0}], None, 5])
def test_a_result_for_each_architecture_is_needed(tmp_path: Path, results: Any) -> None:
    with pytest.raises(InputError, match=r"evaluate returned .*, no list of 3 results"):
        run(tmp_path, evaluate=lambda archs, hopeless: results)


def test_what_could_matter_may_not_be_stopped(tmp_path: Path) -> None:
    def hasty(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        assert hopeless is not None
        return [
            evaluate(arch) if hopeless(arch, score(arch)) else {"at_most": score(arch)}
            for arch in archs
        ]

    with pytest.raises(InputError, match=r"evaluate stopped Arch.* at .*, which was not hopeless"):
        run(tmp_path, evaluate=hasty)
    with pytest.raises(InputError, match="which was not hopeless"):
        run(tmp_path / "off", evaluate=lambda a, h: [{"at_most": -99.0}] * len(a), racing=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": [Limit("params", maximum=10)]}, "no architecture satisfies params <= 10: the"),
        ({"limits": [Limit("flops", maximum=10)]}, "unknown metric to limit 'flops'"),
        ({"strategy": "annealing", "options": {}}, "unknown search strategy 'annealing'"),
        ({"options": {"popsize": 3}}, "unknown option of strategy evolution 'popsize'"),
        ({"trials": 0}, "trials is 0; it must be at least 1"),
        ({"together": 0}, "together is 0; it must be at least 1"),
        (
            {"strategy": "random", "options": {}, "trials": None},
            "random search ends only with the space of 10,880 architectures: give a number of tri",
        ),
        ({"costs": {**COSTS, "seconds": cost}}, "a cost can't be named seconds: the ledger uses"),
    ],
)
def test_bad_input_is_refused_before_anything_is_evaluated_or_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        run(tmp_path / "run", **{"evaluate": untouched, **changes})
    assert str(error.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_another_search_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, trials=2)
    with pytest.raises(InputError, match="holds a search with seed 5, not 6"):
        run(tmp_path, evaluate=untouched, seed=6)
    with pytest.raises(InputError, match="holds a search with evaluated_on '', not 'other split'"):
        run(tmp_path, evaluate=untouched, evaluated_on="other split")


def test_a_ledger_that_the_searcher_would_not_write_is_refused(tmp_path: Path) -> None:
    run(tmp_path, trials=3)
    journal = tmp_path / JOURNAL
    text = journal.read_text()
    genes = json.dumps(read(tmp_path)[1][1].arch.to_dict()["genes"], separators=(",", ":"))
    other = json.dumps(SMALL.smallest.to_dict()["genes"], separators=(",", ":"))
    assert genes in text
    journal.write_text(text.replace(genes, other))
    with pytest.raises(InputError, match=r"trial 1 in .* is not what the search proposes there: "):
        run(tmp_path, evaluate=untouched, trials=3)

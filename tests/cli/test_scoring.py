"""`vitnas search` by zero-cost proxies, and with predictors."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitnas.folder import read_config
from vitnas.proxies import of_arch
from vitnas.search.ledger import read
from vitnas.search.predictor import agreement

from .calling import refusal
from .conftest import Command


def test_a_search_by_a_proxy_needs_no_images_and_has_no_accuracies(
    run: Path, command: Command
) -> None:
    words = ("--strategy", "random", "--trials", "4", "--scorer", "dss", "--max-params", "9k")
    result = command("search", run, *words, "--root", "nowhere")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].strip() == "random-dss: 4 subnets, the zero-cost proxy dss, no accuracy"
    assert "top-1" not in result.out
    settings, records = read(run / "searches" / "random-dss")
    assert settings.scorer == "dss"
    assert settings.evaluated_on == "zero-cost proxy dss, untrained weights of seed 0, no images"
    options = read_config(run / "supernet")["options"]
    score = of_arch("dss", 0, **options)
    assert [record.score for record in records] == [score(record.arch) for record in records]
    assert all(record.metrics["params"] <= 9000 for record in records)
    assert command("extract", run, "--search", "random-dss").code == 0
    origin = read_config(run / "models" / "random-dss")["provenance"]
    assert "search_top1" not in origin
    assert origin["dss"] == max(record.score for record in records)
    assert origin["chosen"] == "best of 4 subnets by random search of dss, a proxy"


def test_a_predictor_chooses_and_says_how_well(run: Path, command: Command) -> None:
    words = ("search", run, "--strategy", "random", "--trials", "28", "--predictor", "gbrt")
    result = command(*words, "--oversample", "3")
    assert result.code == 0
    settings, records = read(run / "searches" / "random-with-gbrt")
    assert (settings.predictor, settings.oversample, settings.scorer) == ("gbrt", 3, "top-1")
    assert {record.state for record in records} == {"complete"}
    assert sum(record.predicted is not None for record in records) == 8
    found = agreement(records)
    assert found is not None
    assert result.out.splitlines()[-1] == f"predictor gbrt: {found}"
    assert command(*words, "--oversample", "3").out == result.out
    assert refusal(command(*words)).endswith(
        "holds a search with oversample 3, not 4; repeat it with the same oversample to resume, or "
        "use another folder (--name)"
    )


def test_of_few_trials_is_told_that_a_predictor_learns_first(run: Path, command: Command) -> None:
    words = ("--strategy", "random", "--trials", "2", "--predictor", "gp", "--name", "few")
    assert command("search", run, *words).out.splitlines()[-1] == (
        "predictor gp: too few subnets were predicted to say how well it does; it learns from 20 "
        "scores before it predicts"
    )


def test_a_proxy_can_choose_what_is_measured(run: Path, command: Command) -> None:
    words = ("--strategy", "random", "--trials", "6", "--predictor", "synflow")
    result = command("search", run, *words)
    assert result.code == 0
    settings, records = read(run / "searches" / "random-with-synflow")
    assert (settings.predictor, settings.scorer) == ("synflow", "top-1")
    score = of_arch("synflow", 0, **read_config(run / "supernet")["options"])
    assert all(record.predicted == score(record.arch) for record in records)
    assert "predictor synflow: " in result.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scorer", "dsss"), "unknown scorer 'dsss'; did you mean 'dss'? (allowed: dss, "
         "synflow, top-1)"),
        (("--predictor", "gbt"), "unknown predictor 'gbt'; did you mean 'gbrt'? (allowed: dss, "
         "gbrt, gp, synflow)"),
        (("--oversample", "3"), "--oversample says among how many a predictor chooses; give "
         "--predictor"),
        (("--predictor", "gp", "--oversample", "1"), "oversample is 1, it must be at least 2 to "
         "choose among"),
        (("--predictor", "dss", "--scorer", "dss"), "predictor dss is the scorer itself; it has "
         "nothing to predict"),
        (("--predictor", "gp", "--strategy", "regularized", "--set", "concurrency=2"),
         "a predictor is to choose among 4 proposals, but concurrency is 2: raise it, or lower "
         "oversample"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused(
    run: Path, command: Command, words: tuple[str, ...], message: str
) -> None:
    assert refusal(command("search", run, *words)) == message


def test_damaged_batch_sizes_are_refused(run: Path, command: Command) -> None:
    path = run / "cache" / "batch-size.json"
    words = ("search", run, "--name", "new", "--strategy", "random", "--trials", "1")
    path.parent.mkdir(exist_ok=True)
    for damaged in ("[]", '{"cpu": 0}', '{"cpu": "8"}'):
        path.write_text(damaged)
        told = refusal(command(*words))
        assert told == f"{path} holds no batch sizes; delete it, and they are measured again"
    path.unlink()
    assert command(*words).code == 0

"""`vitnas evolve-space` on digits."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

import vitnas
from search.holding import locked
from vitnas import cost
from vitnas.folder import read_config
from vitnas.search.ledger import read
from vitnas.search.space_evolution import read_rounds
from vitnas.search.space_evolution_dimensions import Dimension, values_of
from vitnas.train.reading import load_recipe, recipe_space

from .calling import RECIPE, call, files_in, lines_of, refusal
from .conftest import Command
from .test_interrupted import history, kill_when

SPACE = {
    "family": "s3",
    "depth": [[1, 2], [1, 2]],
    "mlp_ratio": [1, 2],
    "num_heads": [[1, 2], [2, 3]],
    "window_size": [[2, 4], [2, 4]],
    "embed_dim": [[8, 16], [16, 24]],
    "head_dim": 8,
    "patch_size": 1,
}
WORDS = (
    *("--subnets", "40", "--rounds", "2", "--max-macs", "400k", "--images", "100"),
    # so little evidence moves things that a supernet of two epochs will do
    *("--option", "threshold=0.02", "--option", "false_moves=0.9"),
    *("--option", "maximum.depth=3", "--option", "steps.embed_dim=8", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def s3_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "s3.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(RECIPE), "space": SPACE}))
    return path


@pytest.fixture(scope="module")
def evolved(s3_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evolved run; only for reading."""
    run = tmp_path_factory.mktemp("evolved") / "run"
    assert call("evolve-space", s3_recipe, run, *WORDS, "--later-epochs", "1", *EPOCHS) == 0
    return run


DEPTHS = (Dimension("depth", 0), Dimension("depth", 1))
EPOCHS = ("--set", "optim.warmup_epochs=0")


def test_every_round_is_a_run_and_the_last_space_can_be_trained_and_searched(
    evolved: Path, tmp_path: Path, command: Command
) -> None:
    rounds = read_rounds(evolved / "space-evolution")
    assert 2 <= len(rounds) <= 3
    assert any(move.new != move.old for move in rounds[0].moves)
    for number, found in enumerate(rounds):
        folder = evolved / "rounds" / str(number)
        net = vitnas.load(folder / "supernet")
        assert isinstance(net, vitnas.Supernet)
        assert net.space == found.space
        recipe = load_recipe(folder / "config.yaml")
        assert recipe_space(recipe) == found.space
        assert recipe.epochs == (1 if number else 2)
        settings, records = read(evolved / "space-evolution" / f"round-{number}")
        assert len(records) == 40
        assert max(record.metrics["macs"] for record in records) <= 400_000
        assert settings.evaluated_on.startswith("search split of digits, 100 images, weights ")
        assert max(depth for n in (0, 1) for depth in values_of(found.space, DEPTHS[n])) <= 3
    final = vitnas.space(evolved / "space.yaml")
    assert final == rounds[-1].space
    words = ("--space", evolved / "space.yaml", "--device", "cpu", "--set", "epochs=2")
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(RECIPE)
    assert command("train", recipe_file, tmp_path / "run", *words).code == 0
    last = shutil.copytree(evolved / "rounds" / str(len(rounds) - 1), tmp_path / "last")
    found_nets = command("search", last, "--trials", "3", "--strategy", "random")
    assert found_nets.code == 0, found_nets.err


def test_errors_are_those_of_the_extracted_subnets(evolved: Path, command: Command) -> None:
    found = read_rounds(evolved / "space-evolution")[0]
    _, records = read(evolved / "space-evolution" / "round-0")
    options = read_config(evolved / "rounds" / "0" / "supernet")["options"]
    config = {name: options[name] for name in ("num_classes", "img_size", "in_chans")}
    for record in records[:5]:
        assert record.metrics["params"] == cost.params(record.arch, **config)
        assert record.metrics["macs"] == cost.macs(record.arch, **config)
    mean = sum(100 - record.score for record in records) / len(records)
    assert found.quality.expected == pytest.approx(mean)


def test_the_same_command_shows_the_same_and_changes_nothing(
    evolved: Path, s3_recipe: Path, command: Command
) -> None:
    before = files_in(evolved)
    words = ("evolve-space", s3_recipe, evolved, *WORDS, "--later-epochs", "1", *EPOCHS)
    result = command(*words)
    assert result.code == 0
    assert files_in(evolved) == before
    lines = result.out.splitlines()
    assert lines[0].strip() == "Errors of the spaces in percent, on the search split"
    assert lines[-2] == f"final space written to {evolved / 'space.yaml'}"
    assert lines[-1].startswith(f"search it: vitnas search {evolved / 'rounds'}")
    told = result.err.splitlines()
    assert told[0].startswith("round 0: E-T error ")


def test_where_it_stands_is_shown(evolved: Path, command: Command) -> None:
    result = command("runs", "show", evolved)
    last = len(read_rounds(evolved / "space-evolution")) - 1
    assert re.search(rf"^space evolution +round {last}, at most up to 2$", result.out, re.M)
    assert re.search(rf"^training of round {last} +epoch 1/1, step 19, loss ", result.out, re.M)
    assert re.search(rf"^subnets of round {last} +40 of 40 trials, best ", result.out, re.M)
    assert f"\nbest of round {last}" in result.out
    assert f" round {last} " in command("runs", "list", evolved).out


def test_the_last_space_is_searched_under_the_same_limits(
    evolved: Path, s3_recipe: Path, tmp_path: Path, command: Command
) -> None:
    run = shutil.copytree(evolved, tmp_path / "run")
    words = (*WORDS, "--later-epochs", "1", *EPOCHS)
    result = command("evolve-space", s3_recipe, run, *words, "--trials", "3")
    assert result.code == 0, result.err
    assert "search it: " not in result.out
    last = run / "rounds" / str(len(read_rounds(run / "space-evolution")) - 1)
    settings, records = read(last / "searches" / "evolution")
    assert len(records) == 3
    assert f"best of search round-{last.name}/evolution" in command("runs", "show", run).out
    assert settings.space == vitnas.space(run / "space.yaml")
    assert max(record.metrics["macs"] for record in records) <= 400_000


def test_a_run_without_a_round_record_goes_on_from_its_ledger(
    evolved: Path, s3_recipe: Path, tmp_path: Path, command: Command
) -> None:
    run = shutil.copytree(evolved, tmp_path / "run")
    before = files_in(run)
    for number in range(1, 3):
        (run / "space-evolution" / f"round-{number}.json").unlink(missing_ok=True)
    words = (*WORDS, "--later-epochs", "1", *EPOCHS)
    assert command("evolve-space", s3_recipe, run, *words).code == 0
    assert files_in(run) == before


def test_a_second_command_on_the_run_is_refused(
    evolved: Path, s3_recipe: Path, command: Command
) -> None:
    """How the first goes on: tests/search/test_space_evolution.py."""
    folder = evolved / "space-evolution"
    before = files_in(evolved)
    with locked(folder / "lock"):
        result = command("evolve-space", s3_recipe, evolved, *WORDS, "--later-epochs", "1", *EPOCHS)
        assert files_in(evolved) == {**before, "space-evolution/lock": b""}
    told = f"another process is evolving the space in {folder}; stop it or wait for its end"
    assert refusal(result) == told
    assert files_in(evolved) == before


@pytest.mark.slow
def test_killed_in_evaluation_and_in_the_next_training_it_ends_the_same(
    evolved: Path, s3_recipe: Path, tmp_path: Path, command: Command
) -> None:
    run = tmp_path / "run"
    words = ("evolve-space", s3_recipe, run, *WORDS, "--later-epochs", "1", *EPOCHS)
    journal = run / "space-evolution" / "round-0" / "study.journal"
    history_of_1 = run / "rounds" / "1" / "metrics.jsonl"

    kill_when(lambda: lines_of(journal) > 8, *words)
    assert 0 < len(read(journal.parent)[1]) < 40
    kill_when(lambda: lines_of(history_of_1) >= 6, *words)
    assert len(read(journal.parent)[1]) == 40
    assert not (run / "rounds" / "1" / "supernet").exists()

    assert command(*words).code == 0
    assert read_rounds(run / "space-evolution") == read_rounds(evolved / "space-evolution")
    assert (run / "space.yaml").read_bytes() == (evolved / "space.yaml").read_bytes()
    for number in range(len(read_rounds(run / "space-evolution"))):
        ours, wanted = (folder / "rounds" / str(number) for folder in (run, evolved))
        assert files_in(ours / "supernet") == files_in(wanted / "supernet")
        assert history(ours / "metrics.jsonl") == history(wanted / "metrics.jsonl")


def test_autoformers_space_evolves_too(recipe: Path, tmp_path: Path, command: Command) -> None:
    words = ("--subnets", "16", "--rounds", "1", "--max-params", "20k", "--images", "60")
    result = command("evolve-space", recipe, tmp_path, *words, "--device", "cpu")
    assert result.code == 0, result.err
    space = vitnas.space(tmp_path / "space.yaml")
    assert space.family == "autoformer"
    assert read_rounds(tmp_path / "space-evolution")[-1].space == space


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "space evolution needs a budget, such as at most so many MACs"),
        (("--max-macs", "1"), "no architecture satisfies macs <= 1: the smallest"),
        (("--max-macs", "1M", "--rounds", "0"), "rounds is 0; it must be at least 1"),
        (("--max-macs", "1M", "--option", "treshold=1"), "unknown option of space evolution"),
        (("--max-macs", "1M", "--option", "threshold=x"), "option threshold is 'x': "),
        (("--max-macs", "1M", "--option", "top=0"), "space evolution: top is 0, it must be 1"),
        (("--max-macs", "1M", "--option", "steps.depht=1"), "unknown dimension in steps 'depht'"),
        (("--max-macs", "1M", "--later-epochs", "0"), "epochs is 0, it must be more than"),
        (("--max-macs", "1M", "--batch-size", "0"), "batch_size is 0; it must be at least 1"),
        (("--max-macs", "1M", "--trials", "0"), "trials is 0; it must be at least 1"),
        (("--max-macs", "1M", "--set", "model.img_size=9"), "model.img_size can't be set"),
    ],
)
def test_wrong_words_are_refused_in_one_line_before_anything_is_written(
    words: tuple[str, ...], told: str, recipe: Path, tmp_path: Path, command: Command
) -> None:
    line = refusal(command("evolve-space", recipe, tmp_path / "run", *words))
    assert line.startswith(told)
    assert not (tmp_path / "run").exists()


def test_the_recipe_of_s3_needs_only_images_and_a_budget(tmp_path: Path, command: Command) -> None:
    words = ("evolve-space", "s3", tmp_path / "run", "--max-macs", "5G", "--option")
    line = refusal(command(*words, "maximum.depth.3=20"))
    assert line == "recipe s3 names no data: give --data, for example --data digits"


@pytest.mark.parametrize(
    ("changed", "name", "where"),
    [
        (("--later-epochs", "1", "--seed", "1"), "seed", ""),
        (("--later-epochs", "2"), "recipe", " (later_epochs)"),
        (("--later-epochs", "1", "--set", "epochs=3"), "recipe", " (epochs)"),
    ],
)
def test_another_evolution_in_the_folder_is_refused(
    changed: tuple[str, ...],
    name: str,
    where: str,
    evolved: Path,
    s3_recipe: Path,
    command: Command,
) -> None:
    before = files_in(evolved)
    result = command("evolve-space", s3_recipe, evolved, *WORDS, *EPOCHS, *changed)
    assert refusal(result) == (
        f"{evolved / 'space-evolution'} holds a space evolution with another {name}{where}: repeat "
        f"it with the same {name} to resume, or use another folder"
    )
    assert files_in(evolved) == before

"""`vitnas search --workers`, `--join` and `--ledger`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from search.holding import another
from vitnas.search.claims import LOCK
from vitnas.search.ledger import read

from .calling import Result, files_in, refusal
from .conftest import Command

SIZES = ("--set", "population=12", "--set", "mutants=6", "--set", "crossovers=6")
WORDS = ("--trials", "24", "--device", "cpu", "--batch-size", "16", *SIZES)


def found(folder: Path) -> list[tuple[object, ...]]:
    """What a search proposed, in the order proposed."""
    records = sorted(read(folder)[1], key=lambda record: record.index)
    assert [record.index for record in records] == list(range(24)), "a double or a lost trial"
    return [(record.arch, record.origin, record.generation) for record in records]


def rows_of(text: str) -> list[list[str]]:
    """The rows of the table without the numbers of trials."""
    return [line.split()[1:] for line in text.splitlines() if re.match(r" *\d+  ", line)]


@pytest.mark.slow  # every worker loads torch
def test_two_workers_find_what_one_finds(trained: Path, tmp_path: Path, command: Command) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    alone = command("search", run, *WORDS, "--name", "alone")
    shared = command("search", run, *WORDS, "--name", "shared", "--workers", "2")
    assert (shared.code, alone.code) == (0, 0), shared
    assert found(run / "searches" / "shared") == found(run / "searches" / "alone")
    assert rows_of(shared.out) == rows_of(alone.out)
    assert shared.out.splitlines()[-1] == alone.out.splitlines()[-1]
    assert "searching, best" in shared.err


GRID = ("--strategy", "grid", "--max-params", "9k", "--device", "cpu", "--batch-size", "16")


def check_grid(told: Result, alone: Result) -> None:
    """The count comes first and is said once, the end too, as alone."""
    count, *rest = told.err.splitlines()
    assert count == alone.err.splitlines()[0]
    assert re.fullmatch(r"grid search: \d+ of 40 architectures are feasible", count)
    number = int(count.split()[2])
    assert f"grid search is at its end after {number} trials" in rest
    assert f"{number}/{number}" in rest[-1]
    assert told.err.count("feasible") == told.err.count("at its end") == 1


def test_with_workers_grid_says_its_count_and_its_end(
    trained: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    alone = command("search", run, *GRID)
    check_grid(alone, alone)
    monkeypatch.setattr("vitnas.search.workers.run_workers", lambda work, count, watch: watch())
    shared = command("search", run, *GRID, "--workers", "2")  # what the workers do is done
    check_grid(shared, alone)
    assert shared.out == alone.out


@pytest.mark.slow
def test_two_workers_search_a_grid(trained: Path, tmp_path: Path, command: Command) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    alone = command("search", run, *GRID, "--name", "alone")
    shared = command("search", run, *GRID, "--name", "shared", "--workers", "2")
    check_grid(shared, alone)
    assert rows_of(shared.out) == rows_of(alone.out)


def test_trials_are_refused_before_workers_start(run: Path, command: Command) -> None:
    words = ("search", run, "--name", "none", "--workers", "2")
    assert refusal(command(*words, "--strategy", "grid", "--trials", "0")) == (
        "trials is 0; it must be at least 1"
    )
    assert refusal(command(*words, "--strategy", "random")) == (
        "random search ends only with the space of 40 architectures: give a number of trials"
    )


@pytest.mark.slow
def test_a_worker_s_refusal_is_that_of_the_command(run: Path, command: Command) -> None:
    words = ("search", run, "--strategy", "random", "--trials", "7", "--seed", "3")
    assert refusal(command(*words, "--workers", "2")).startswith(
        f"{run / 'searches' / 'random'} holds a search with seed 0, not 3; repeat it with"
    )


def test_a_search_under_way_is_refused_or_joined(run: Path, command: Command) -> None:
    folder = run / "searches" / "random"
    words = ("search", run, "--strategy", "random", "--trials", "7")
    with another(folder / LOCK, []):
        for more in ((), ("--workers", "2")):
            assert refusal(command(*words, *more)) == (
                f"another process is searching into {folder}; stop it, wait for its end, or help "
                "it with --join on"
            )
        assert command(*words, "--join", "on").code == 0
    assert len(read(folder)[1]) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--workers", "0"), "workers is 0, it must be at least 1"),
        (("--ledger", "mysql://me:secret@host/db"), "ledger 'mysql://me@host/db' must look like "
         "postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"),
        (("--ledger", "postgresql://me:secret@host"), "ledger 'postgresql://me@host' must look "
         "like postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"),
        (("--ledger", "grpc://host"), "ledger 'grpc://host' must look like "
         "postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"),
    ],
)  # fmt: skip
def test_refusals(words: tuple[str, ...], message: str, trained: Path, command: Command) -> None:
    before = files_in(trained)
    assert refusal(command("search", trained, *words)) == message
    assert files_in(trained) == before


def test_nobody_there(run: Path, command: Command) -> None:
    words = ("search", run, "--strategy", "random", "--trials", "7")
    address = "postgresql://me:secret@127.0.0.1:1/db"
    said = refusal(command(*words, "--ledger", address))
    assert said.startswith("can't reach postgresql://me@127.0.0.1:1/db: connection failed: ")
    assert "secret" not in said

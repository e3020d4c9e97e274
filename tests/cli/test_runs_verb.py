from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitnas import cli
from vitnas.commands import commands, recorded, state_of
from vitnas.errors import InputError
from vitnas.search.ledger import Ledger, Settings, read
from vitnas.search.searcher import read_options
from vitnas.testing.searchers import SMALL

from .calling import lines_of, refusal
from .conftest import Command


def test_list_and_show(run: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = command("runs", "list", run.parent)
    assert (result.code, result.err) == (0, "")
    line = result.out.splitlines()[-1]
    assert line.startswith(str(run))
    assert line.split()[1:7] == ["finished", "epoch", "2,", "ended", "random", "3"]

    result = command("runs", "show", "run", "--under", run.parent)
    assert (result.code, result.err) == (0, "")
    assert f"run            {run}" in result.out
    assert "last command   vitnas search" in result.out
    assert "training       epoch 2/2, step 38, loss " in result.out
    assert "search random  6 of 6 trials, best " in result.out
    assert "best of search random" in result.out
    assert command("runs", "list", run.parent / "nowhere").code == 2


def test_showing_never_loads_torch(run: Path) -> None:
    code = (
        "import sys\n"
        "from vitnas.cli import main\n"
        f"for words in (['list', {str(run)!r}], ['show', {str(run)!r}]):\n"
        "    assert main(['runs', *words]) == 0\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_compare(run: Path, trained: Path, command: Command) -> None:
    result = command("runs", "compare", run, trained)
    assert result.code == 0
    lines = {line.split("  ")[0]: line.split()[-2:] for line in result.out.splitlines()[2:]}
    assert lines["data"] == ["digits", "digits"]
    assert lines["search random: trials"] == ["6", "–"]
    assert refusal(command("runs", "compare", run)) == (
        "`vitnas runs compare` takes two or more runs, not 1"
    )


def test_a_refused_command_is_not_the_last(run: Path, command: Command) -> None:
    last = commands(run)[-1]
    assert command("search", run, "--strategy", "random", "--trials", "0").code == 2
    assert command("train", "digits", run.parent / "new", "--set", "epochs=0").code == 2
    assert commands(run)[-1] == last
    assert not (run.parent / "new").exists()


def test_resume_takes_a_password_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "postgresql://me:***@127.0.0.1:1/nas"
    words = ("search", str(tmp_path), "--ledger", address.replace("***", "old"))
    with recorded(tmp_path, words, {}):
        (tmp_path / "metrics.jsonl").touch()
    given: list[str] = []
    monkeypatch.setattr(cli, "execute", lambda *words: given.extend(words))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    wanted = f"the password in {address} is not kept, and nobody can be asked for it here; "
    with pytest.raises(InputError, match=re.escape(wanted + "give it by PGPASSWORD")):
        cli.runs("resume", (str(tmp_path),))
    assert not given
    monkeypatch.setenv("PGPASSWORD", "n@w")
    cli.runs("resume", (str(tmp_path),))
    assert given == [*words[:-1], address.replace("***", "n%40w")]


def test_finetuning_without_a_recipe_tells_of_its_epochs(
    run: Path, tmp_path: Path, command: Command
) -> None:
    model = str(run / "models" / "largest")
    arguments = {"model": model, "recipe": None, "overrides": ["epochs=7"]}
    with recorded(tmp_path, ("finetune", model, str(tmp_path)), arguments):
        lines = [{"kind": "step", "step": 5, "epoch": 0, "loss": 1.0}]
        lines += [{"kind": "speed", "step": 5, "epoch": 0}]
        lines += [{"kind": "step", "step": 6, "epoch": 1, "loss": 1.0}]
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
        shown = command("runs", "show", tmp_path).out
    assert re.search(r"training +epoch 1/7, step 6, loss 1\.0000, \d+\w+ left", shown)


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("evolution", r"0 of at most 1,050 trials, no limit"),
        ("slimming", r"0 trials, no limit, the end of slimming depends on the scores"),
    ],
)
def test_a_search_without_trials_tells_its_end(
    strategy: str, told: str, tmp_path: Path, command: Command
) -> None:
    settings = Settings(SMALL, (), strategy, read_options(strategy, {}), 0)
    with recorded(tmp_path, ("search", str(tmp_path)), {"strategy": strategy, "trials": None}):
        with Ledger(tmp_path / "searches" / strategy, settings):
            pass
        shown = command("runs", "show", tmp_path).out
    assert re.search(rf"^search {strategy} +{told}$", shown, re.M), shown


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        (
            {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8", "RANK": "0", "TORCHELASTIC_RUN_ID": "x"},
            "torchrun",
        ),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, "srun"),
    ],
)
def test_what_began_as_several_processes_is_not_resumed_as_one(
    environment: dict[str, str],
    launcher: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    words = ("search", run, "--strategy", "random", "--trials", "1", "--images", "20")
    with monkeypatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        assert command(*words).code == 0
        told = commands(run)
        patched.setenv("RANK" if launcher == "torchrun" else "SLURM_PROCID", "1")
        assert command(*words).code == 0
        assert commands(run) == told, "only the first process keeps a record"
    assert refusal(command("runs", "resume", run)) == (
        f"{launcher} began vitnas search {run} --strategy random --trials 1 --images 20 with 8 "
        f"processes in {Path.cwd()}; repeat it so"
    )


def test_delete_asks(run: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert "nobody can be asked here; --yes yes deletes " in refusal(command("runs", "delete", run))
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    result = command("runs", "delete", run)
    assert "1 search, 3 models)? Type yes: nothing was deleted" in result.out
    assert run.is_dir()
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert command("runs", "delete", run).code == 0
    assert not run.exists()


def test_delete_refuses_what_is_at_work_before_it_asks(
    run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with recorded(run, ("train",), {}):
        told = refusal(command("runs", "delete", run))
    assert told == f"{run} is worked on by process {os.getpid()}; stop it first"


def test_a_search_of_more_trials_than_the_last_command_asked_for(
    run: Path, command: Command
) -> None:
    words = ("search", str(run), "--strategy", "random", "--trials", "2")
    with recorded(run, words, {"strategy": "random", "trials": 2}):
        os.utime(run / "metrics.jsonl")
    assert "search random  6 trials, best " in command("runs", "show", run).out


def test_delete_without_asking(run: Path, command: Command) -> None:
    assert command("runs", "delete", run, "--yes", "yes").out.startswith(f"deleted {run}")
    assert not run.exists()


def ended(search: Path) -> set[int]:
    """Which of the searcher's proposals were evaluated."""
    return {record.index for record in read(search)[1] if record.state in ("complete", "stopped")}


@pytest.mark.slow
def test_stop_and_resume_a_search(run: Path, command: Command) -> None:
    """A real search in a process of its own is stopped; what it did not do is then done."""
    words = ("search", run, "--strategy", "random", "--trials", "400", "--name", "long")
    journal = run / "searches" / "long" / "study.journal"
    arguments = [sys.executable, "-m", "vitnas", *map(str, (*words, "--batch-size", "16"))]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while lines_of(journal) < 10:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        shown = command("runs", "show", run).out
        assert f"runs as process {process.pid} on " in shown
        assert "search long    " in shown
        assert " of 40 trials, " in shown  # the space has no more
        assert command("runs", "stop", run).out.startswith(f"asked process {process.pid} to stop")
        assert process.wait(60) == 130
    assert state_of(run, commands(run)[-1]) == "stopped"
    assert not ended(journal.parent) >= set(range(30))
    record = next((run / "commands").glob(f"*-{process.pid}.json"))
    record.write_text(record.read_text().replace('"400"', '"30"'))
    result = command("runs", "resume", run)
    assert result.code == 0
    assert result.out.startswith(f"in {Path.cwd()}: vitnas search {run} ")
    assert ended(journal.parent) >= set(range(30))
    assert refusal(command("runs", "stop", run)) == f"nothing runs in {run}"

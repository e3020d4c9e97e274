"""Signals at real moments; the same command then ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from vitnas.search.ledger import Record, read

from .calling import STEPS, files_in, lines_of
from .conftest import Command

PARTS = {"metrics.jsonl", "checkpoints", "cache", "commands"}
STOPPED = "vitnas: stopped; repeat the same command to go on from there\n"


@contextmanager
def ctrl_c_when(reached: Callable[[], bool]) -> Iterator[None]:
    """Send this process what Ctrl-C sends, once, as soon as `reached` is true."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if reached():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def kill_when(reached: Callable[[], bool], *args: str | Path) -> None:
    """Run a command in a process of its own and kill it without warning."""
    command = [sys.executable, "-m", "vitnas", *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while not reached():
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL


def history(path: Path) -> list[str]:
    """The lines of a training's metrics, without those that hold times."""
    return [line for line in path.read_text().splitlines() if json.loads(line)["kind"] != "speed"]


def test_training(recipe: Path, trained: Path, tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    metrics = run / "metrics.jsonl"
    words = ("train", recipe, run, "--device", "cpu")

    with ctrl_c_when(lambda: lines_of(metrics) >= 8):
        result = command(*words)
    assert (result.code, result.out) == (130, "")
    assert result.err.endswith(
        "stopping after this step; once more to stop at once, without a checkpoint\n" + STOPPED
    )
    assert {path.name for path in run.iterdir()} == PARTS
    done = lines_of(metrics)
    assert 8 <= done < STEPS // 2, "the interruption did not come in the first epoch"

    kill_when(lambda: lines_of(metrics) >= STEPS // 2 + 6, *words)
    assert STEPS // 2 + 6 <= lines_of(metrics) < STEPS, "the kill did not come in the second epoch"
    assert {path.name for path in run.iterdir()} == PARTS

    result = command(*words)
    assert result.code == 0
    assert result.err.startswith(f"continuing after step {STEPS // 2}\n")
    assert history(metrics) == history(trained / "metrics.jsonl")
    assert files_in(run / "supernet") == files_in(trained / "supernet")
    assert (run / "config.yaml").read_bytes() == (trained / "config.yaml").read_bytes()


@contextmanager
def group_with_workers(recipe: Path, run: Path) -> Iterator[subprocess.Popen[str]]:
    """A long training that has begun, with two workers in a process group of its own."""
    settings = ("workers=2", "epochs=1000", "evaluate_every=0")
    words = ["train", str(recipe), str(run), "--device", "cpu"]
    words += [word for setting in settings for word in ("--set", setting)]
    with subprocess.Popen(
        [sys.executable, "-m", "vitnas", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            while lines_of(run / "metrics.jsonl") < 8:
                assert process.poll() is None, process.communicate()
                time.sleep(0.002)
            assert len(living(process.pid)) == 3
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def living(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                found.append(int(path.parent.name))
    return found


def last_checkpoint(run: Path) -> int:
    return max(int(path.stem.removeprefix("step-")) for path in run.glob("checkpoints/step-*.pt"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes(number: signal.Signals, recipe: Path, tmp_path: Path) -> None:
    """As a terminal, `timeout`, SLURM and systemd send it."""
    run = tmp_path / "run"
    with group_with_workers(recipe, run) as process:
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert living(process.pid) == []
    assert (process.returncode, out) == (130, "")
    assert err.endswith(
        "stopping after this step; once more to stop at once, without a checkpoint\n" + STOPPED
    )
    assert "killed" not in err
    steps = [json.loads(line) for line in history(run / "metrics.jsonl")]
    assert steps[-1]["step"] == last_checkpoint(run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_no_process(
    number: signal.Signals, recipe: Path, tmp_path: Path
) -> None:
    with group_with_workers(recipe, tmp_path / "run") as process:
        os.killpg(process.pid, number)
        time.sleep(0.005)
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
        assert living(process.pid) == []
    assert process.returncode == 130
    assert err.endswith(STOPPED)


def test_a_training_that_is_killed_leaves_no_process(recipe: Path, tmp_path: Path) -> None:
    with group_with_workers(recipe, tmp_path / "run") as process:
        process.kill()
        process.wait()
        until = time.monotonic() + 30
        while living(process.pid):
            assert time.monotonic() < until, "workers live on"
            time.sleep(0.05)


def test_a_worker_that_is_killed_is_one_line(recipe: Path, tmp_path: Path) -> None:
    with group_with_workers(recipe, tmp_path / "run") as process:
        os.kill(max(set(living(process.pid)) - {process.pid}), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert living(process.pid) == []
    assert process.returncode == 2
    # The other worker may say that its connection broke.
    assert "\nvitnas: a process that loads images was killed, " in err


def ledger(folder: Path) -> list[tuple[object, ...]]:
    """What a search found, those that it stopped too, without times and failed trials."""
    return [_result(record) for record in read(folder)[1] if record.state != "failed"]


def _result(record: Record) -> tuple[object, ...]:
    generation = (record.origin, record.generation, len(record.parents))
    scores = (record.score, record.at_most, record.metrics)
    return record.state, record.index, record.arch, scores, generation


# The interrupt may come just while Optuna opens its file, which Python then closes with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_search(trained: Path, tmp_path: Path, command: Command) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    sizes = {"population": 12, "mutants": 6, "crossovers": 6, "parents": 3}
    small = [word for name, size in sizes.items() for word in ("--set", f"{name}={size}")]
    words: tuple[str | Path, ...] = ("search", run, "--trials", "36", "--device", "cpu", *small)
    words += ("--batch-size", "16")
    journal = run / "searches" / "evolution" / "study.journal"

    whole = command(*words, "--name", "whole")
    assert whole.code == 0
    lines = lines_of(run / "searches" / "whole" / "study.journal")
    assert "stopped" in {row[0] for row in ledger(run / "searches" / "whole")}

    with ctrl_c_when(lambda: lines_of(journal) > lines // 4):
        result = command(*words)
    assert (result.code, result.out) == (130, "")
    assert result.err.endswith(STOPPED)
    states = [record.state for record in read(journal.parent)[1]]
    assert set(states) <= {"complete", "stopped"}
    assert len(states) < 36

    kill_when(lambda: lines_of(journal) > lines // 2, *words)
    assert len(ledger(journal.parent)) < 36

    result = command(*words)
    assert result.code == 0
    assert table(result.out) == table(whole.out)
    assert ledger(journal.parent) == ledger(run / "searches" / "whole")


def table(text: str) -> list[list[str]]:
    """The words of the lines, without the numbers of trials: failed ones have some too."""
    return [line.split()[1:] for line in text.splitlines()]


@pytest.mark.parametrize(
    "written", [(), ("model.safetensors",), ("model.safetensors", "modeling.py")]
)
def test_extraction(
    written: tuple[str, ...], searched: Path, tmp_path: Path, command: Command
) -> None:
    """Whichever file was being written when it was killed."""
    whole = searched / "models" / "largest"
    cut = tmp_path / "net"
    cut.mkdir()
    for name in written:
        shutil.copy(whole / name, cut)
    (cut / ".next.99.tmp").write_bytes(b"half")
    for said in ("largest subnet written to", "largest subnet is in"):
        assert said in command("extract", searched, "--arch", "largest", "--output", cut).out
        assert files_in(cut) == files_in(whole)


def test_finetuning(searched: Path, tmp_path: Path, command: Command) -> None:
    model = searched / "models" / "largest"
    words = ("--recipe", "digits-finetune", "--set", "epochs=2", "--set", "evaluate_every=1")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command("finetune", model, whole, *words).code == 0
    with ctrl_c_when(lambda: lines_of(cut / "metrics.jsonl") >= 5):
        result = command("finetune", model, cut, *words)
    assert (result.code, result.err.endswith(STOPPED)) == (130, True)
    assert not (cut / "config.json").exists()
    assert command("finetune", model, cut, *words).code == 0
    assert history(cut / "metrics.jsonl") == history(whole / "metrics.jsonl")
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    configs = [json.loads((folder / "config.json").read_text()) for folder in (whole, cut)]
    assert configs[0] == configs[1]

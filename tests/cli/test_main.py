"""The command line as a whole: help, exit codes, the public flags, and what it must not load."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vitnas
from vitnas import cli
from vitnas.cli import VERBS, main

from .calling import refusal
from .conftest import Command

FLAGS = {
    "quickstart": "seed trials",
    "train": "data device root set space",
    "search": "batch-size data device images join ledger max max-latency max-macs max-memory "
    "max-params measure min min-latency min-macs min-memory min-params name objective oversample "
    "predictor racing root scorer seed set skip-broken strategy tied trials workers",
    "evolve-space": "batch-size data device images later-epochs max-macs max-params min-macs "
    "min-params option root rounds seed set space subnets trials",
    "extract": "arch output search side trial",
    "finetune": "data device recipe root set",
    "retrain": "data device recipe root set",
    "evaluate": "batch-size config data device root skip-broken split weights",
    "profile": "backend batch-size device dtype img-size latency num-classes repeats space table "
    "threads",
    "convert": "arch config lossy source space to",
    "export": "data licence out root skip-broken to",
    "predict": "device skip-broken top",
    "spaces": "img-size num-classes",
    "archs": "space to",
    "runs": "dead under yes",
    "view": "host port",
    "report": "",
}
POSITIONALS = {
    "quickstart": "[FOLDER]",
    "train": "RECIPE RUN",
    "search": "RUN",
    "evolve-space": "RECIPE RUN",
    "extract": "RUN",
    "finetune": "MODEL OUTPUT",
    "retrain": "MODEL OUTPUT",
    "evaluate": "MODEL",
    "profile": "TARGET",
    "convert": "CHECKPOINT TARGET",
    "export": "MODEL",
    "predict": "MODEL IMAGES",
    "spaces": "[NAME]",
    "archs": "[NAME]",
    "runs": "[ACTION] [NAME]",
    "view": "[FOLDER]",
    "report": "RUN",
}


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"], ["help"]])
def test_help_lists_every_verb_in_80_columns(args: list[str], command: Command) -> None:
    result = command(*args)
    assert (result.code, result.err) == (0, "")
    listed = re.findall(r"^  ([\w-]+) +\S", result.out, re.MULTILINE)
    assert listed == list(VERBS)
    assert max(map(len, result.out.splitlines())) <= 80


def test_the_public_flags_of_every_verb(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts of users depend on them: a flag that goes or changes its name breaks those."""
    monkeypatch.setenv("COLUMNS", "300")
    flags, positionals = {}, {}
    for verb in VERBS:
        result = command(verb, "--help")
        assert (result.code, result.err) == (0, "")
        _, top, bottom = re.split(r"positional arguments|\n\W+options\b", result.out)
        flags[verb] = " ".join(sorted(re.findall(r"^\W+--([a-z][a-z-]*)", bottom, re.M)))
        positionals[verb] = " ".join(re.findall(r"^\W*?(\[?[A-Z]+\]?)  ", top, re.M))
    assert flags == FLAGS
    assert positionals == POSITIONALS


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_the_terminal_and_explains_everything(
    verb: str, columns: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = command(verb, "--help").out
    assert text.startswith(f"usage: vitnas {verb} ")
    assert max(map(len, text.splitlines())) <= columns
    assert not re.search(r" $|\bNone\b|\bSTR\b|\bINT\b|\(default: \)", text, re.M)
    function = getattr(cli, verb.replace("-", "_"))
    for name in inspect.signature(function).parameters:
        assert re.search(rf"^        {name}: [a-zA-Z.]", function.__doc__, re.M)


def test_verbs_are_functions_of_the_module() -> None:
    for verb in (name.replace("-", "_") for name in VERBS):
        assert getattr(cli, verb).__module__ == f"vitnas.cli.{verb}_verb"
    with pytest.raises(AttributeError, match=r"module 'vitnas\.cli' has no attribute 'trian'"):
        _ = cli.trian


def test_version(command: Command) -> None:
    assert command("--version").out == f"vitnas {vitnas.__version__}\n"


def test_an_unknown_verb_is_named_with_the_nearest(command: Command) -> None:
    assert refusal(command("trian")) == (
        "unknown verb 'trian'; did you mean 'train'? (allowed: archs, convert, evaluate, "
        "evolve-space, export, extract, finetune, predict, profile, "
        "quickstart, report, retrain, runs, search, "
        "spaces, train, view)"
    )


def test_help_starts_in_well_under_a_second() -> None:
    def run() -> float:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "vitnas", "--help"], capture_output=True)
        assert done.returncode == 0
        assert done.stdout.startswith(b"usage: vitnas VERB")
        return time.perf_counter() - start

    assert min(run() for _ in range(3)) < 0.8


def test_help_and_wrong_names_never_load_torch(recipe: Path) -> None:
    """One process for all, in the order of the list, so that the first that loads it is named."""
    wrong = [
        ["trian"],
        ["train"],
        ["train", "digts", "run"],
        ["train", "digits", "run", "--data", "digit"],
        ["train", "digits", "run", "--data", "folder/nowhere"],
        ["train", "digits", "run", "--space", "autoformer-digit"],
        ["train", "digits", "run", "--set", "epoch=3"],
        ["train", "autoformer-tiny", "run"],
        ["evolve-space", "digits", "run"],
        ["evolve-space", "digits", "run", "--option", "treshold=1"],
        ["evolve-space", "digits", "run", "--option", "steps.depht=1", "--max-macs", "1M"],
        ["evolve-space", "digits", "run", "--max-macs", "6X"],
        ["search", "run"],
        ["search", "run", "--strategy", "evolutoin"],
        ["search", "run", "--set", "poplation=3"],
        ["search", "run", "--max-params", "6X"],
        ["extract", "run"],
        ["finetune", "model", "model"],
        ["finetune", "model", "out", "--recipe", "finetun"],
        ["profile", "autoformer-tny"],
        ["convert", "a.pth", "net", "--arch", "autoformer-tny"],
        ["convert", "a.pth", "net", "--space", "autoformer-tny"],
        ["export", "model", "--to", "onx"],
        ["spaces", "autoformer-tny"],
        ["archs", "autoformer-tny"],
        ["runs", "lst"],
        ["runs", "show", "nowhere"],
        ["runs", "list", "nowhere"],
        ["view", "nowhere"],
        ["view", "--port", "99999"],
    ]
    code = (
        "import sys\n"
        "from vitnas.cli import VERBS, main\n"
        "for verb in VERBS:\n"
        "    assert main([verb, '--help']) == 0\n"
        "    assert 'torch' not in sys.modules, verb\n"
        f"for args in {wrong!r}:\n"
        "    assert main(args) == 2, args\n"
        "    assert 'torch' not in sys.modules, args\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(wrong)
    assert all(line.startswith("vitnas: ") for line in lines)


@pytest.mark.parametrize("args", [["--help"], ["archs"], ["archs", "--help"]])
def test_a_reader_that_leaves_is_no_error(args: list[str]) -> None:
    command = [sys.executable, "-m", "vitnas", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, error = process.communicate()
    assert (process.returncode, error) == (0, b"")


def test_ctrl_c_says_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(name: str | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitnas.cli.archs_verb.archs", stopped)
    result = command("archs")
    assert (result.code, result.out) == (130, "")
    assert result.err == "vitnas: stopped; repeat the same command to go on from there\n"


def test_a_message_of_several_lines_becomes_one(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str | None = None) -> None:
        raise vitnas.InputError("a  b\nc")

    monkeypatch.setattr("vitnas.cli.archs_verb.archs", refuse)
    assert refusal(command("archs")) == "a  b c"


def test_the_arguments_of_the_process_are_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vitnas", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("vitnas ")

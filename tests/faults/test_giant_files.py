"""Files that are too large, or ask for more memory than there is, are refused."""

from __future__ import annotations

import copy
import json
import re
import resource
import signal
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import vitnas
from faults.readers import RECORDS, SPACE, TEXTS, net, outcome, table
from report import demo
from standalone import modeling
from train.runs import small_net
from vitnas import folder
from vitnas.interop import checkpoint
from vitnas.report import mirror
from vitnas.report.contents import read_contents
from vitnas.search import ledger
from vitnas.standing import standing
from vitnas.train.metrics import read_metrics

LONG_LINE = r"line \d+ has more than 16 MiB"


def every_part(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container of a value of JSON with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from every_part(value[key])


def sizes(record: Any) -> Iterator[None]:
    """Set every part of a record to numbers of which a program could try to make that many."""
    for place, key in every_part(record):
        sound = place[key]
        for number in (10**6, 10**9, 10**30):
            place[key] = number
            yield
        place[key] = sound


@contextmanager
def little_memory() -> Iterator[None]:
    """Allow 2 GiB beyond what is in use, and five seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])

    def too_slow(*args: object) -> None:
        raise AssertionError("it takes too long")

    previous = signal.signal(signal.SIGALRM, too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (2 << 30), hard))
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("name", RECORDS)
def test_giant_numbers_in_archs(name: str, tmp_path: Path) -> None:
    given, read = RECORDS[name]
    path, record = tmp_path / name, {"root": copy.deepcopy(given)}
    for _ in sizes(record):
        path.write_text(json.dumps(record["root"]))
        with little_memory():
            outcome(read, path)


def test_giant_numbers_in_spaces(tmp_path: Path) -> None:
    path, record = tmp_path / "space.yaml", yaml.safe_load(SPACE)
    for _ in sizes(record):
        path.write_text(yaml.safe_dump(record))
        with little_memory():
            outcome(lambda path: vitnas.space(path).sample(0), path)


@pytest.mark.parametrize("kind", ["model", "supernet"])
def test_giant_numbers_in_model_folders(kind: str, tmp_path: Path) -> None:
    """What a config asks for is not made before it is compared with the weights."""
    saved = net(tmp_path) if kind == "model" else vitnas.save(small_net(), tmp_path / "net")
    config = saved / "config.json"
    record = json.loads(config.read_text())
    for _ in sizes(record):
        config.write_text(json.dumps(record))
        with little_memory():
            outcome(folder.load, saved)


@pytest.mark.parametrize("name", ["arch.json", "arch.yaml", "space.yaml", "recipe.yaml"])
def test_giant_files(name: str, tmp_path: Path) -> None:
    """They are refused before what they hold fills the memory."""
    path = tmp_path / name
    with path.open("w") as file:
        file.write("[" + "[]," * 6_000_000 + "[]]")
    tracemalloc.start()
    try:
        refusal = outcome(TEXTS[name][1], path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refusal.endswith(f"{path}: it has more than {16 if '.json' in name else 1} MiB")
    assert peak < 2 * path.stat().st_size


def giant(path: Path) -> None:
    """Make a file of 20 GiB, of which the disk holds only the first bytes."""
    with path.open("r+b") as file:
        file.truncate(20 << 30)


def test_giant_configs_of_models(tmp_path: Path) -> None:
    saved = net(tmp_path)
    alone = modeling(saved)
    giant(saved / "config.json")
    with little_memory():
        assert "it has more than 16 MiB" in outcome(folder.load, saved)
        with pytest.raises(ValueError, match=r"config\.json: it has more than 16 MiB"):
            alone.load(str(saved))


def test_checkpoints_that_unpack_to_more_than_they_are(tmp_path: Path) -> None:
    whole, bomb = tmp_path / "whole.pth", tmp_path / "bomb.pth"
    torch.save({"model": {"cls_token": torch.zeros(1 << 22)}}, whole)
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        for part in given.infolist():
            made.writestr(part.filename, given.read(part))
    assert outcome(checkpoint.read, whole) == ""
    assert "bomb.pth is compressed, as torch's own files never are" in outcome(
        checkpoint.read, bomb
    )
    assert torch.load(bomb, weights_only=True), "torch alone has to unpack it"


@pytest.mark.parametrize(
    "name",
    [
        *("config.yaml", "metrics.jsonl", "supernet/config.json", "models/largest/config.json"),
        *("searches/random/study.journal", "searches/random/latency.json"),
    ],
)
def test_giant_files_of_runs(name: str, tmp_path: Path) -> None:
    """Those that list, show and report runs leave such a file out, and say so."""
    run = demo.make_run(tmp_path / "run", trials=1)
    table(run / "searches" / "random")
    giant(run / name)
    with little_memory():
        (told,) = read_contents(run).missing
        assert "has more than" in told
        standing(run)


def test_giant_metrics(tmp_path: Path) -> None:
    run = demo.make_run(tmp_path / "run", trials=1)
    giant(run / "metrics.jsonl")
    with little_memory():
        assert re.search(LONG_LINE, outcome(read_metrics, run / "metrics.jsonl"))
        assert [*mirror.dashboard_figures(run, read_contents(run).studies[0])]


def test_giant_journals(tmp_path: Path) -> None:
    study = demo.make_run(tmp_path / "run", trials=1) / "searches" / "random"
    giant(study / "study.journal")
    with little_memory():
        assert re.search(LONG_LINE, outcome(ledger.read, study))
        assert outcome(lambda folder: ledger.Follower(folder).news(), study)

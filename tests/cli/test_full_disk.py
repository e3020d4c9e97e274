"""A disk that fills up: one clear line, exit code 2, and nothing half-written."""

from __future__ import annotations

import shutil
from pathlib import Path

from interop.recorded import write_checkpoint

from .calling import disk_of, files_in
from .conftest import Command

TUNE = ("--recipe", "digits-finetune")


def test_a_full_disk(recipe: Path, run: Path, tmp_path: Path, command: Command) -> None:
    """The disk takes the first few files, then no more."""
    model, new = run / "models" / "largest", tmp_path / "new"
    official = write_checkpoint(tmp_path / "official.pth")
    before = files_in(run)
    cases: list[tuple[tuple[str | Path, ...], Path]] = [
        (("train", recipe, new), new / "checkpoints"),
        (("finetune", model, new, *TUNE), new / "checkpoints"),
        (("extract", run, "--arch", "largest", "--output", new), new / "model.safetensors"),
        (("convert", official, new), tmp_path / ".new."),
    ]
    for words, place in cases:
        with disk_of(15_000):
            result = command(*words)
        assert result.code == 2, result
        line = result.err.splitlines()[-1]
        assert line.startswith(f"vitnas: can't write {place}"), line
        assert "File too large" in line
        left = files_in(new) if new.exists() else {}
        assert not [name for name in left if name.endswith((".tmp", "config.json", ".safetensors"))]
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
        shutil.rmtree(new, ignore_errors=True)
    assert files_in(run) == before


def test_a_full_disk_while_figures_are_kept(run: Path, command: Command) -> None:
    model = run / "models" / "largest"
    before = files_in(model)
    with disk_of(100):
        told = command("evaluate", model)
    assert told.code == 2
    assert told.err == f"vitnas: can't write {model / 'config.json'}: File too large\n"
    assert files_in(model) == before


def test_a_full_disk_while_searching(run: Path, command: Command) -> None:
    journal = run / "searches" / "random" / "study.journal"
    before = journal.read_bytes()
    with disk_of(len(before) + 100):
        result = command("search", run, "--strategy", "random", "--trials", "8")
    assert result.code == 2
    assert result.err.splitlines()[-1] == f"vitnas: can't write {journal}: File too large"
    assert command("search", run, "--strategy", "random", "--trials", "8").code == 0
    assert journal.read_bytes().startswith(before)

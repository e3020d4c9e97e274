from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from report import demo
from vitnas.commands import recorded
from vitnas.errors import InputError
from vitnas.runs import delete, find_run, find_runs, resumable, size, working_in


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make_run(tmp_path_factory.mktemp("work") / "runs" / "digits", trials=6)


def test_a_run_is_found_by_folder_and_by_name(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = made.parent.parent
    assert find_runs(work) == find_runs(made.parent) == find_runs(made) == [made]
    assert find_run(str(made), Path()) == made
    assert find_run("digits", work) == find_run("digits", made.parent) == made
    monkeypatch.chdir(work)
    assert find_run("digits", Path()) == Path("runs/digits")


def test_what_is_no_run_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown run 'digit'; did you mean 'digits'\?"):
        find_run("digit", made.parent.parent)
    with pytest.raises(InputError, match=r"is no run: it has none of metrics\.jsonl"):
        find_run(str(tmp_path), Path())
    with pytest.raises(InputError, match="there is no folder"):
        find_runs(tmp_path / "nowhere")


def test_deleting(tmp_path: Path) -> None:
    run = demo.make_small_run(tmp_path / "run")
    assert size(run) == (run / "metrics.jsonl").stat().st_size
    link = tmp_path / "link"
    link.symlink_to(run)
    with pytest.raises(InputError, match="is a link to"):
        delete(link)
    with (
        recorded(run, ("train",), {}),
        pytest.raises(InputError, match=f"is worked on by process {os.getpid()}; stop it first"),
    ):
        delete(run)
    link.unlink()
    delete(run)
    assert list(tmp_path.iterdir()) == []


def test_only_a_command_that_means_the_same_is_resumed(tmp_path: Path) -> None:
    run = demo.make_small_run(tmp_path / "run")
    with pytest.raises(InputError, match="has no record of a command"):
        resumable(run)
    with working_in(str(tmp_path)), recorded(Path("run"), ("train", "digits", "run"), {}):
        (run / "metrics.jsonl").touch()
        with pytest.raises(InputError, match="is worked on by process"):
            resumable(run)
    assert resumable(run).words == ("train", "digits", "run")
    moved = run.rename(tmp_path / "moved")
    wanted = f"was moved, so its last command is not repeated: in {tmp_path}, `vitnas train digits"
    with pytest.raises(InputError, match=re.escape(wanted)):
        resumable(moved)

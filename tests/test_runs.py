from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from report import demo
from vitnas import files
from vitnas.commands import bury, recorded
from vitnas.errors import InputError
from vitnas.runs import delete, find_run, find_runs, resumable, size, working_in
from vitnas.standing import standing


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


def test_a_run_elsewhere_is_not_taken_for_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("", "other"):
        demo.make_small_run(tmp_path / place / "digits")
    monkeypatch.chdir(tmp_path)
    assert find_run("digits", Path()) == Path("digits")
    assert find_run("digits", Path("other")) == Path("other/digits")
    assert find_run(str(tmp_path / "digits"), Path("other")) == tmp_path / "digits"
    with pytest.raises(InputError, match=r"there is no run net in .*digits; name a folder"):
        find_run("net", Path("digits"))


def test_a_folder_that_cannot_be_looked_into_hides_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = demo.make_small_run(tmp_path / "run")
    (tmp_path / "lost+found").mkdir()
    exists = Path.exists

    def refused(path: Path) -> bool:
        if path.parent.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    assert find_runs(tmp_path) == [run]


@pytest.mark.parametrize("inside", ["models/net-ft", "rounds/1"])
def test_a_run_with_work_inside_or_around_it_is_not_deleted(inside: str, tmp_path: Path) -> None:
    run = demo.make_small_run(tmp_path / "run")
    inner = demo.make_small_run(run / inside)
    for at_work, other in ((inner, run), (run, inner)):
        with (
            recorded(at_work, ("finetune",), {}),
            pytest.raises(InputError, match=f"is worked on by process {os.getpid()}; stop it"),
        ):
            delete(other)
    with recorded(inner, ("finetune",), {}):
        where = standing(run)
    assert where.last is not None
    assert (where.state, where.last.words) == ("running", ("finetune",))
    delete(run)


def test_a_command_on_a_machine_that_is_gone_can_be_buried(tmp_path: Path) -> None:
    run = demo.make_small_run(tmp_path / "run")
    with recorded(run, ("train", "digits"), {}):
        (run / "metrics.jsonl").touch()
    (path,) = (run / "commands").glob("*.json")
    files.write_json(path, json.loads(path.read_text()) | {"host": "node7", "ended": None})
    told = r"on node7 \(if that machine is gone: --dead yes\)"
    with pytest.raises(InputError, match=told):
        resumable(run)
    with pytest.raises(InputError, match=told):
        delete(run)
    bury(run)
    assert resumable(run).words == ("train", "digits")
    delete(run)


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

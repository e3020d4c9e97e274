from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from report import demo
from vitnas.commands import FOLDER, recorded
from vitnas.errors import InputError
from vitnas.runs import (
    delete,
    duration,
    find_run,
    find_runs,
    last_step,
    resumable,
    size,
    standing,
    working_in,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make_run(tmp_path_factory.mktemp("work") / "runs" / "digits", trials=6)


def small(folder: Path) -> Path:
    """A run of which only two steps of training are there."""
    folder.mkdir(parents=True)
    lines = [{"kind": "step", "step": step, "epoch": 0, "loss": 2.5 - step} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


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


def test_where_a_run_stands(made: Path) -> None:
    where = standing(made, epochs=12)
    assert where.training is not None
    assert (where.training.epoch, where.training.step, where.training.finished) == (12, 240, True)
    assert set(where.training.metrics) == {"top1_smallest", "top1_largest", "top1_random"}
    assert [(s.name, len(s.records), s.trials) for s in where.searches] == [
        ("evolution", 6, None),
        ("random", 6, None),
    ]
    assert list(where.models)[:2] == ["evolution", "evolution-finetuned"]
    assert (where.state, where.last, where.faults) == ("", None, [])


def test_what_is_left_follows_from_the_steps_since_the_command_began(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    with recorded(run, ("train",), {}, last_step(run)):
        lines = [
            {"kind": "step", "step": 8, "epoch": 1, "loss": 0.5},
            {"kind": "speed", "step": 6, "epoch": 0},
        ]
        text = "".join(json.dumps(line) + "\n" for line in (lines[1], lines[0]))
        with (run / "metrics.jsonl").open("a") as file:
            file.write(text)
        where = standing(run)
        assert where.last is not None
        moment = where.last.began + 12
        os.utime(run / "metrics.jsonl", (moment, moment))
        where = standing(run, epochs=5)
    assert where.state == "running"
    assert where.training is not None
    assert where.training.epoch == 1
    # six steps in twelve seconds, and 5 * 6 - 8 to go
    assert where.training.seconds_left == pytest.approx(44)


def test_a_search_says_how_long_it_still_takes(made: Path) -> None:
    try:
        with recorded(made, ("search",), {"name": None, "strategy": "random", "trials": 10}):
            (made / "config.yaml").touch()
            found = {search.name: search for search in standing(made).searches}
        mean = sum(record.seconds for record in found["random"].records) / 6
        assert found["random"].trials == 10
        assert found["random"].seconds_left == pytest.approx(4 * mean)
        assert found["evolution"].seconds_left is None
    finally:
        for path in (made / FOLDER).iterdir():
            path.unlink()


def test_damage_is_told(made: Path, tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('[1]\n{"kind": "step", "step": "x"}\n{"ki')
    (run / "searches" / "broken").mkdir(parents=True)
    (run / "models" / "m").mkdir(parents=True)
    (run / "models" / "m" / "config.json").write_text("{")
    where = standing(run)
    assert where.training is None
    assert len(where.faults) == 2
    assert "study.journal" in where.faults[0]
    assert "not valid JSON" in where.faults[1]


def test_deleting(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
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
    run = small(tmp_path / "run")
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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.4, "3s"), (59.4, "59s"), (60, "1m"), (3600 + 300, "1h05m"), (4 * 86400 + 7300, "4d02h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text

"""Faults in the middle of a training: dead workers, damage, clocks, second commands."""

from __future__ import annotations

import datetime
import fcntl
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from faults.victims import RECIPE, SEARCH, evaluate
from search.holding import locked
from train.runs import history, small_run
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.racing import one_by_one
from vitnas.search.study import search
from vitnas.testing.searchers import SMALL
from vitnas.train import checkpoint
from vitnas.train.weights import Weights

PLAIN = replace(RECIPE, logger=None)
STEPS = 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    small_run(folder, PLAIN)
    return folder


def at(step: int, action: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen when the loop has done a step."""
    update = Weights.update

    def acting(self: Any, number: int) -> None:
        update(self, number)
        if number == step:
            action()

    monkeypatch.setattr(Weights, "update", acting)


# Python 3.12 warns of fork while torch's threads live, which is how its loader works on Linux.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_loader_that_dies_is_one_line_and_the_run_goes_on(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_one() -> None:
        os.kill(multiprocessing.active_children()[0].pid or 0, 9)
        time.sleep(30)  # until torch hears of the death and raises: late, on a busy machine

    with monkeypatch.context() as patch:
        at(3, kill_one, patch)
        with pytest.raises(InputError, match=r"^a process that loads images was killed, .*\Z"):
            small_run(tmp_path, replace(PLAIN, workers=2))
    small_run(tmp_path, PLAIN)
    assert history(tmp_path) == history(whole)


def test_a_clock_that_jumps_back_changes_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    jumps = iter(range(0, 10**9, 3600))

    class Backwards(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Backwards:
            return cls.fromtimestamp(time.time(), tz)

    monkeypatch.setattr(time, "time", lambda: real() - next(jumps))
    monkeypatch.setattr(datetime, "datetime", Backwards)

    def crash() -> None:
        for path in sorted((tmp_path / "checkpoints").glob("step-*.pt")):
            os.utime(path, (time.time(), time.time()))  # the newest seems to be the oldest
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        at(5, crash, patch)
        with pytest.raises(RuntimeError, match="power cut"):
            small_run(tmp_path, PLAIN)
    state = checkpoint.load(tmp_path / "checkpoints")
    assert state is not None
    assert state["step"] == 4
    small_run(tmp_path, PLAIN)
    assert history(tmp_path) == history(whole)

    found = search(SMALL, one_by_one(evaluate), folder=tmp_path / "search", **SEARCH)
    monkeypatch.undo()
    steady = search(SMALL, one_by_one(evaluate), folder=tmp_path / "steady", **SEARCH)
    assert [record.arch for record in found] == [record.arch for record in steady]


def test_a_ledger_that_is_locked_for_a_while_is_waited_for(tmp_path: Path) -> None:
    """As by a program that copies it; a database that is gone: tests/search/test_remote.py."""
    held: list[IO[bytes]] = []
    waited: list[bool] = []

    def lock_and_evaluate(arch: Arch) -> dict[str, float]:
        if not held:
            held.append((tmp_path / "search" / "study.journal").open("rb"))
            fcntl.flock(held[0], fcntl.LOCK_EX)
            threading.Timer(0.2, held[0].close).start()
        return evaluate(arch)

    found = search(
        SMALL,
        one_by_one(lock_and_evaluate),
        folder=tmp_path / "search",
        on_trial=lambda _: waited.append(held[0].closed),
        **SEARCH,
    )
    steady = search(SMALL, one_by_one(evaluate), folder=tmp_path / "steady", **SEARCH)
    assert waited == [True] * SEARCH["trials"]
    assert [(one.arch, one.score) for one in found] == [(one.arch, one.score) for one in steady]


def test_a_second_training_in_a_folder_is_refused(tmp_path: Path, whole: Path) -> None:
    with locked(tmp_path / "checkpoints" / "lock") as first:
        with pytest.raises(InputError) as error:
            small_run(tmp_path, PLAIN)
        assert str(error.value) == (
            f"another process is training in {tmp_path}; stop it or wait for its end"
        )
        assert not (tmp_path / "metrics.jsonl").exists()
        first.kill()
    small_run(tmp_path, PLAIN)
    assert history(tmp_path) == history(whole)


def flips(path: Path, count: int) -> Iterator[None]:
    """Change one byte of a file at a time."""
    content, draw = path.read_bytes(), random.Random(7)
    for _ in range(count):
        place = draw.randrange(len(content))
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        yield
    path.write_bytes(content)


def test_any_changed_byte_of_a_checkpoint_is_harmless_or_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"model": {"w": torch.full((500,), float(step))}})
    noticed = 0
    for _ in flips(tmp_path / "step-000000002.pt", 150):
        caplog.clear()
        state = checkpoint.load(tmp_path)
        assert state is not None
        assert torch.equal(state["model"]["w"], torch.full((500,), float(state["step"])))
        assert (state["step"] == 1) == ("is damaged, using the one before it" in caplog.text)
        noticed += state["step"] == 1
    assert noticed > 100


def test_of_three_checkpoints_two_may_be_damaged(tmp_path: Path, whole: Path) -> None:
    for path in whole.glob("checkpoints/step-*.pt"):
        target = tmp_path / "checkpoints" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    (tmp_path / "metrics.jsonl").write_bytes((whole / "metrics.jsonl").read_bytes())
    *_, second, last = sorted(tmp_path.glob("checkpoints/step-*.pt"))
    second.write_bytes(second.read_bytes()[:-1])
    last.write_bytes(b"")
    _, result = small_run(tmp_path, PLAIN, sampler=None)
    assert result.finished
    assert result.step == STEPS
    assert history(tmp_path) == history(whole)


def test_the_best_weights_are_kept_and_can_be_the_result(tmp_path: Path) -> None:
    """The evaluation of the second of four epochs is the best, and five checkpoints come later."""
    scores = iter([1.0, 3.0, 2.0, 2.5])
    seen: list[torch.Tensor] = []

    def judge(model: torch.nn.Module) -> dict[str, float]:
        seen.append(torch.cat([p.detach().flatten().clone() for p in model.parameters()]))
        return {"top1": next(scores)}

    recipe = replace(PLAIN, epochs=4, ema_decay=None, restore_best=True)
    net, result = small_run(tmp_path, recipe, evaluate=judge)
    names = sorted(path.name for path in tmp_path.glob("checkpoints/step-*.pt"))
    assert names == [f"step-{step:09d}.pt" for step in (8, 14, 15, 16)]
    assert result.metrics == {"top1": 3.0}
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert torch.equal(weights, seen[1])
    again, result = small_run(tmp_path, recipe, evaluate=judge)
    assert result.loss is None
    assert torch.equal(torch.cat([p.detach().flatten() for p in again.parameters()]), seen[1])
    (tmp_path / "checkpoints" / names[0]).write_bytes(b"")
    with pytest.raises(InputError, match=r"^checkpoint .*8\.pt can't be read: "):
        small_run(tmp_path, recipe, evaluate=judge)

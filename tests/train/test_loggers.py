"""Loggers know every step once, also after a crash that a checkpoint does not cover."""

from __future__ import annotations

import csv
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from train.runs import before, small_recipe, small_run
from vitnas.errors import InputError
from vitnas.train.metrics import read_metrics


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run_with_a_crash(folder: Path, logger: str) -> None:
    """Train to the end, with a crash in step 14: the checkpoint is that of step 10."""

    def crash() -> None:
        raise RuntimeError("power cut")

    recipe = small_recipe(logger=logger, ema_decay=None, drop_path=0.0)
    with pytest.raises(RuntimeError, match="power cut"):
        small_run(folder, recipe, sampler=before(14, crash))
    small_run(folder, recipe)


def expected(folder: Path, name: str) -> list[tuple[int, float]]:
    """The steps and values of a metric in `metrics.jsonl`."""
    lines = read_metrics(folder / "metrics.jsonl")
    return [(line["step"], line[name]) for line in lines if name in line]


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    """The steps and values that TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "logs" / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run_with_a_crash(tmp_path, "tensorboard")
    files = list((tmp_path / "logs" / "tensorboard").iterdir())
    assert len(files) == 2  # one of each attempt
    for name in ("loss", "lr", "top1_largest", "images_per_second"):
        shown, told = scalars(tmp_path, name), expected(tmp_path, name)
        assert [step for step, _ in shown] == [step for step, _ in told], name
        assert [value for _, value in shown] == pytest.approx([value for _, value in told])
    assert len(expected(tmp_path, "loss")) == 20


def test_csv(tmp_path: Path) -> None:
    run_with_a_crash(tmp_path, "csv")
    with (tmp_path / "logs" / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("loss", "lr", "top1_largest", "images_per_second"):
        shown = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        assert shown == expected(tmp_path, name)


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "vitnas.train.wandb_logger", raising=False)
    with pytest.raises(InputError, match=r"^logger wandb needs the package wandb: pip install '"):
        small_run(tmp_path, small_recipe(logger="wandb"))
    with pytest.raises(InputError, match=r'logger is "tensorbord", it should be \'tensorboard\''):
        small_recipe(logger="tensorbord")


def wandb_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a W&B file, a log in the format of LevelDB after 7 bytes of its own."""
    content, at, parts = path.read_bytes(), 7, b""
    while at < len(content):
        if 32768 - at % 32768 < 7:  # no header fits into the rest of a block
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


@pytest.mark.slow
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own process takes seconds to start and to end."""
    wandb = pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    run_with_a_crash(tmp_path, "wandb")
    wandb.teardown()
    seen: list[tuple[int, str, float]] = []
    files = sorted((tmp_path / "logs" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    for path in files:
        for data in wandb_records(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {
                (item.key or ".".join(item.nested_key)): item.value_json
                for item in record.history.item
            }
            step = int(items.get("_step", record.history.step.num))
            seen += [(step, "loss", float(items["loss"]))] if "loss" in items else []
    assert [(step, value) for step, _, value in seen] == expected(tmp_path, "loss")

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from train.runs import (
    SPACE,
    STEPS,
    before,
    digits,
    environment,
    history,
    small_net,
    small_recipe,
    small_run,
)
from vitnas.errors import InputError
from vitnas.supernet import Supernet
from vitnas.train import checkpoint
from vitnas.train.loop import train
from vitnas.train.metrics import read_metrics
from vitnas.train.samplers import fixed
from vitnas.train.step import TrainingError


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Supernet]:
    """The small run, never interrupted."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("reference")
    net, result = small_run(folder)
    assert result.finished
    assert result.step == STEPS
    return folder, net


def test_the_speed_of_each_epoch_is_in_the_history(reference: tuple[Path, Supernet]) -> None:
    lines = [m for m in read_metrics(reference[0] / "metrics.jsonl") if m["kind"] == "speed"]
    assert [line["epoch"] for line in lines] == [0, 1]
    for line in lines:
        assert line["images_per_second"] > 0
        assert 0 < line["waiting"] < 1
        assert line["bottleneck"] in ("step", *line["waited_seconds"])
        assert line["stages"].keys() == {"decode", "augment", "collate", "mixup", "step"}
        assert line["stages"]["mixup"] > line["stages"]["step"]  # a part of it


def assert_same(folder: Path, net: nn.Module, reference: tuple[Path, Supernet]) -> None:
    """Same history and same weights, averages and optimiser state, to the last bit."""
    expected_folder, expected_net = reference
    assert history(folder) == history(expected_folder)
    for name, tensor in expected_net.state_dict().items():
        assert torch.equal(net.state_dict()[name], tensor), name
    ours, theirs = (checkpoint.load(f / "checkpoints") for f in (folder, expected_folder))
    assert ours is not None
    assert theirs is not None
    for part in ("ema", "optimizer"):
        assert _same(ours[part], theirs[part]), part


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)


def test_metrics_have_a_line_a_step_and_an_evaluation_an_epoch(
    reference: tuple[Path, Supernet],
) -> None:
    lines = history(reference[0])
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert {line["epoch"] for line in steps} == {0, 1}
    told = {line["step"]: line["steps_per_epoch"] for line in steps if "steps_per_epoch" in line}
    assert told == {1: 10, 11: 10}
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    assert [line["step"] for line in evaluations] == [10, 20]
    assert {"top1_smallest", "top1_largest", "top1_random"} <= evaluations[0].keys()


def test_killed_in_mid_epoch_it_continues_bit_for_bit(
    tmp_path: Path, reference: tuple[Path, Supernet]
) -> None:
    script = Path(__file__).with_name("runs.py")
    killed = subprocess.run(
        [sys.executable, script, tmp_path, "13"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = checkpoint.load(tmp_path / "checkpoints")
    assert state is not None
    assert state["step"] == 13  # ten of the first epoch, three of the second

    net, result = small_run(tmp_path)
    assert result.finished
    assert_same(tmp_path, net, reference)


def test_what_came_after_the_checkpoint_is_repeated_not_doubled(
    tmp_path: Path, reference: tuple[Path, Supernet]
) -> None:
    def crash() -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        small_run(tmp_path, sampler=before(14, crash))
    lines = history(tmp_path)
    assert lines[-1]["step"] == 14  # the checkpoint is that of step 10
    net, _ = small_run(tmp_path)
    assert_same(tmp_path, net, reference)


def test_ctrl_c_writes_a_checkpoint_and_ends(
    tmp_path: Path, reference: tuple[Path, Supernet], caplog: pytest.LogCaptureFixture
) -> None:
    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    _, result = small_run(tmp_path, sampler=before(4, press))
    assert not result.finished
    assert result.step == 5  # the step that it was in
    assert signal.getsignal(signal.SIGINT) is handler
    assert "stopping after this step" in caplog.text
    net, result = small_run(tmp_path)
    assert result.finished
    assert_same(tmp_path, net, reference)


def test_ctrl_c_in_the_last_step_of_an_epoch_does_not_skip_its_evaluation(
    tmp_path: Path, reference: tuple[Path, Supernet]
) -> None:
    def press() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    _, result = small_run(tmp_path, sampler=before(9, press))
    assert (result.step, result.epochs) == (10, 0)
    net, _ = small_run(tmp_path)
    assert_same(tmp_path, net, reference)


def test_a_damaged_last_checkpoint_falls_back(
    tmp_path: Path, reference: tuple[Path, Supernet], caplog: pytest.LogCaptureFixture
) -> None:
    small_run(tmp_path)
    last = max((tmp_path / "checkpoints").iterdir())
    last.write_bytes(last.read_bytes()[:-1000])
    net, _ = small_run(tmp_path)
    assert f"checkpoint {last} is damaged, using the one before it" in caplog.text
    assert_same(tmp_path, net, reference)


def test_a_finished_run_does_nothing(reference: tuple[Path, Supernet]) -> None:
    before_lines = history(reference[0])
    net, result = small_run(reference[0])
    assert result.finished
    assert result.loss is None
    assert result.metrics["top1_largest"] == before_lines[-1]["top1_largest"]
    assert_same(reference[0], net, reference)


def test_other_workers_are_no_other_run_and_change_nothing(
    tmp_path: Path, reference: tuple[Path, Supernet]
) -> None:
    net, _ = small_run(tmp_path, small_recipe(workers=2))
    assert_same(tmp_path, net, reference)


def test_bfloat16_continues_bit_for_bit_too(tmp_path: Path) -> None:
    recipe = small_recipe(precision="bf16-mixed", epochs=2)
    small_run(tmp_path / "whole", recipe)
    press = before(4, lambda: os.kill(os.getpid(), signal.SIGINT))
    small_run(tmp_path / "parts", recipe, sampler=press)
    small_run(tmp_path / "parts", recipe)
    whole, parts = (history(tmp_path / name) for name in ("whole", "parts"))
    assert whole == parts
    assert len(whole) == STEPS + 2


def test_float16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision 16-mixed needs a GPU; on cpu use 32-true or"):
        small_run(tmp_path, small_recipe(precision="16-mixed"))


def test_it_learns(tmp_path: Path) -> None:
    recipe = small_recipe(
        epochs=24, augment={"mixup": 0.0, "cutmix": 0.0, "re_prob": 0.0, "scale": [1.0, 1.0],
                           "ratio": [1.0, 1.0], "hflip": 0.0, "auto_augment": None,
                           "color_jitter": None},
        drop_path=0.0, distillation={}, ema_decay=None,
        optim={"base_lr": 4e-2, "warmup_epochs": 2, "clip_grad": 1.0}, evaluate_every=0,
    )  # fmt: skip
    _, result = small_run(tmp_path, recipe, sampler=fixed(SPACE.largest))
    losses = [line["loss"] for line in history(tmp_path)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert result.metrics == {}


def test_another_space_is_refused(tmp_path: Path) -> None:
    small_run(tmp_path, sampler=before(0, lambda: os.kill(os.getpid(), signal.SIGINT)))
    other = small_net(SPACE.with_values(embed_dim=(16, 20, 24)))
    with pytest.raises(InputError) as error:
        small_run(tmp_path, net=other)
    assert str(error.value) == (
        f"{tmp_path} holds another run (architecture.embed_dim was [16, 24], is [16, 20, 24]); "
        "restore these settings or choose another folder"
    )
    with pytest.raises(InputError, match=r"optim.base_lr was 0\.03, is 0\.001; "):
        small_run(tmp_path, small_recipe(optim={"base_lr": 1e-3, "warmup_epochs": 1}))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    net = small_net()

    def poison() -> None:
        with torch.no_grad():
            net.get_parameter("head.bias").fill_(float("nan"))

    with pytest.raises(TrainingError) as error:
        small_run(tmp_path, net=net, sampler=before(12, poison))
    message = str(error.value)
    assert message.startswith("the loss of Arch('autoformer', depth=3")
    assert "is nan in step 12; the last checkpoint is kept; try a lower optim.base_lr" in message
    state = checkpoint.load(tmp_path / "checkpoints")
    assert state is not None
    assert state["step"] == 10


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    net = small_net()

    def poison(model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            model.get_parameter("blocks.2.mlp.fc1.bias")[0] = float("inf")
        return {}

    recipe = small_recipe(ema_decay=None)
    with pytest.raises(TrainingError, match="weights are not finite after step 10"):
        small_run(tmp_path, recipe, net=net, evaluate=poison)
    assert list(tmp_path.glob("checkpoints/*")) == []


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    sampler = before(15, lambda: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(InputError, match=r"can't write .*step-000000020.pt: No space left on dev"):
        small_run(tmp_path, sampler=sampler)
    monkeypatch.undo()
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step-000000010.pt"}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write .*: Not a directory"):
        small_run(tmp_path / "file" / "run")


def test_cuda_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="no device 'cuda' here; available: auto, cpu"):
        train(small_net(), small_recipe(), digits(), tmp_path, device="cuda")


def test_an_extracted_model_trains(tmp_path: Path) -> None:
    model = small_net().extract(SPACE.smallest)
    recipe = small_recipe(
        sampling=None, distillation={}, epochs=1, accumulate=2, ema_decay=None,
        optim={"warmup_epochs": 0},
    )  # fmt: skip
    result = train(model, recipe, digits(), tmp_path, device="cpu")
    assert result.finished
    assert result.step == 10
    assert 0 <= result.metrics["top1"] <= 100
    with pytest.raises(InputError, match=r"architecture\.arch.genes.depth was 1, is 3"):
        train(small_net().extract(SPACE.largest), recipe, digits(), tmp_path, device="cpu")


def test_recipe_and_model_must_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model is a supernet; its recipe needs sampling"):
        small_run(tmp_path, small_recipe(sampling=None, distillation={}))
    model = small_net().extract(SPACE.smallest)
    with pytest.raises(InputError, match="an ordinary model; its recipe needs no sampling"):
        train(model, small_recipe(), digits(), tmp_path, device="cpu")
    with pytest.raises(InputError, match="batch_size is 5000, but an epoch has only"):
        small_run(tmp_path, small_recipe(batch_size=5000))
    with pytest.raises(InputError, match="batch_size is 31, mixup needs an even one"):
        small_run(tmp_path, small_recipe(batch_size=31))


def test_an_epoch_is_one_plain_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        small_run(tmp_path, small_recipe(epochs=2))
    lines = [r.message for r in caplog.records if r.message.startswith("epoch ")]
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2, loss ")
    assert "top1_largest" in lines[1]
    assert lines[1].endswith("0m00s left")

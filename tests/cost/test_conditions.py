"""Settings: what is recorded, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch

from vitnas import cost, devices
from vitnas.cost import conditions
from vitnas.errors import InputError


def test_what_is_recorded() -> None:
    found = cost.settings("cpu", threads=3, batch_size=8)
    assert dataclasses.astuple(found)[2:] == (
        3,
        "float32",
        "eager",
        8,
        f"torch {torch.__version__}",
    )
    assert found.device == "cpu"
    assert found.hardware
    assert cost.settings("cpu").threads == torch.get_num_threads()
    told = f"cpu ({found.hardware}, 3 threads), batch size 8, float32, eager, {found.software}"
    assert str(found) == told
    assert cost.Settings.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_differences_are_named() -> None:
    one = cost.settings("cpu", threads=1)
    other = dataclasses.replace(one, threads=2, dtype="bfloat16")
    assert one.differences(one) == []
    assert one.differences(other) == ["threads 1, not 2", "dtype float32, not bfloat16"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtype": "float23"}, "unknown dtype 'float23'; did you mean 'float32'? (allowed: "),
        ({"backend": "onnx"}, "unknown backend 'onnx'; did you mean 'onnxruntime'? (allowed: "),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number from 1"),
        ({"threads": 1.5}, "threads is 1.5; it must be a whole number from 1"),
        ({"device": "cupid"}, "no device 'cupid' here; available: auto, cpu"),
        ({"backend": "onnxruntime", "dtype": "bfloat16"}, "takes float32 or float16, not bfloat16"),
    ],
)
def test_refusals(given: dict[str, Any], message: str) -> None:
    if "onnxruntime" in given.values():
        pytest.importorskip("onnxruntime")
    with pytest.raises(InputError) as error:
        cost.settings(**{"device": "cpu", **given})
    assert message in str(error.value)


def test_a_gpu_has_a_name_and_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available", lambda: ["cpu", "cuda:0"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card of {device}")
    found = cost.settings("cuda")
    assert (found.device, found.hardware, found.threads) == ("cuda:0", "card of cuda:0", None)
    assert str(found).startswith("cuda:0 (card of cuda:0), batch size 1, ")
    with pytest.raises(InputError, match="threads are of a CPU, the device is cuda:0"):
        cost.settings("cuda", threads=2)
    monkeypatch.setattr(conditions, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="backend onnxruntime is measured on cpu, not on cuda:0"):
        cost.settings("cuda", backend="onnxruntime")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "find_spec", lambda name: None if "onnx" in name else object())
    with pytest.raises(InputError) as error:
        cost.settings("cpu", backend="onnxruntime")
    assert str(error.value) == (
        "backend onnxruntime needs onnx, onnxscript, onnxruntime; install with "
        "`pip install 'vitnas[onnx]'`, or use eager or compile"
    )

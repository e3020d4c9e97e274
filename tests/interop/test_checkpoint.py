"""Foreign checkpoints are read as data; nothing in them runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import re
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from vitnas.errors import InputError
from vitnas.interop.checkpoint import misfits, read, read_training, refuse, write

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


def assert_state(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE},
        {"state_dict": STATE, "epoch": 3},
        {"model": {"module": STATE}},
        {"model": {f"module.{name}": tensor for name, tensor in STATE.items()}},
        {"model": STATE, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}},
        {"state_dict": {f"model.{name}": tensor for name, tensor in STATE.items()}},
        {f"module._orig_mod.{name}": tensor for name, tensor in STATE.items()},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_states_and_their_wrappers(content: Any, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert_state(read(path))


def test_the_arguments_of_a_training(tmp_path: Path) -> None:
    content = {"model": STATE, "args": argparse.Namespace(gp=True, cfg="T.yaml")}
    torch.save(content, tmp_path / "a.pth")
    state, args = read_training(tmp_path / "a.pth")
    assert_state(state)
    assert args == {"gp": True, "cfg": "T.yaml"}
    torch.save({"model": STATE, "args": {"gp": True}}, tmp_path / "b.pth")
    assert read_training(tmp_path / "b.pth")[1] == {}
    save_file(STATE, tmp_path / "a.safetensors")
    assert read_training(tmp_path / "a.safetensors")[1] == {}


@pytest.mark.parametrize("zipped", [True, False])
def test_the_logs_in_checkpoints_of_mmengine_are_passed_over(zipped: bool, tmp_path: Path) -> None:
    """Their class need not be installed, and nothing of it runs; other classes are refused.

    Since mmengine 0.7.3 the state of a buffer has functions of its class, which a pickle of torch's
    protocol asks `getattr` for.
    """
    names = ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer")
    modules = {name: ModuleType(name) for name in names}

    def mean(self: Any) -> float:
        raise AssertionError("nothing of the class runs")

    mean.__module__, mean.__qualname__ = names[-1], "HistoryBuffer.mean"
    history = type("HistoryBuffer", (), {"__module__": names[-1], "mean": mean})
    other = type("Other", (), {"__module__": names[-1]})
    vars(modules[names[-1]]).update(HistoryBuffer=history, Other=other)
    buffer = history()
    vars(buffer).update(_log_history=np.arange(3.0), last=np.float64(2.0), max_length=10)
    vars(buffer).update(statistics_methods={"mean": mean})
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        for name, log in (("a", buffer), ("b", other())):
            content = {"meta": {"epoch": 3}, "state_dict": STATE, "message_hub": {"loss": log}}
            path = tmp_path / f"{name}.pth"
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "mmengine" not in sys.modules
    assert_state(read(tmp_path / "a.pth"))
    with pytest.raises(InputError, match=r"b\.pth (holds Python objects|is damaged)"):
        read(tmp_path / "b.pth")
    assert "mmengine" not in sys.modules


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors"])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_what_is_written_is_read(name: str, wrapper: str | None, tmp_path: Path) -> None:
    transposed = {**STATE, "a.weight": STATE["a.weight"].t().contiguous().t()}
    assert write(transposed, tmp_path / name, wrapper) == tmp_path / name
    assert_state(read(tmp_path / name))
    if wrapper and name != "a.safetensors":
        assert torch.load(tmp_path / name, weights_only=True).keys() == {wrapper}
    with pytest.raises(
        InputError, match=r"can't write .*a\.bin: a checkpoint's name ends in \.pth"
    ):
        write(STATE, tmp_path / "a.bin")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_many_faults_are_counted() -> None:
    names = [f"layer.{i:02}" for i in range(23)]
    with pytest.raises(InputError) as caught:
        refuse("S3", {"missing": names, "unexpected": [], "wrong": names[:1]})
    told = "not the official S3 of this config; missing: layer.00, layer.01, "
    assert str(caught.value).startswith(told)
    assert str(caught.value).endswith("layer.19 and 3 more; wrong: layer.00")


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert_state(read(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickles_are_refused_and_do_not_run(zipped: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "trace"
    torch.save({"model": STATE, "x": Bomb(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"a\.pth (holds Python objects|is damaged)"):
        read(path)
    assert not trace.exists()


def test_a_plain_pickle_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(InputError, match=r"a\.pth"):
        read(path)
    assert not trace.exists()


def test_a_whole_module_is_refused_by_the_names_of_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(torch.nn.Linear(1, 1), path)
    message = r"holds Python objects that could run code \(torch\.nn\.modules\.linear\.Linear"
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "a.pth holds no state dict, but a list"),
        ({}, "a.pth holds no state dict, but a dict"),
        ({"model": {}}, "a.pth holds no state dict"),
        ({"epoch": 3, "lr": 0.1}, "a.pth holds no state dict: epoch, lr are no tensors"),
        (torch.ones(1), "a.pth holds no state dict, but a Tensor"),
    ],
)
def test_checkpoints_without_a_state(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=re.escape(message)):
        read(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(0, 3),
        torch.ones(2, 2, device="meta"),
        torch.ones(2, 2).to_sparse(),
    ],
    ids=["empty", "meta", "sparse"],
)
def test_tensors_without_plain_numbers_are_refused_by_name(
    tensor: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": {"cls_token": torch.ones(1), "norm.weight": tensor}}, path)
    message = "a.pth holds tensors that are empty, sparse or without data: norm.weight; "
    with pytest.raises(InputError, match=re.escape(message)):
        read(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02garbage", b"PK\x03\x04x"])
def test_files_that_are_no_checkpoint(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is damaged, or no checkpoint of torch or saf"):
        read(path)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}},  # more than there is
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"a": 3},
        [],
    ],
)
@pytest.mark.parametrize("length", [None, 2**62, 3])
def test_safetensors_that_lie_about_themselves(
    header: Any, length: int | None, tmp_path: Path
) -> None:
    path, text = tmp_path / "a.safetensors", json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", length or len(text)) + text + bytes(8))
    with pytest.raises(InputError, match=r"a\.safetensors is damaged, or no checkpoint of torch"):
        read(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), byte=st.integers(0, 255), zipped=st.booleans())
def test_a_changed_byte_never_gives_anything_but_tensors_or_a_refusal(
    place: float, byte: int, zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": STATE}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] = byte
    path.write_bytes(content)
    found: dict[str, torch.Tensor] = {}
    with contextlib.suppress(InputError):
        found = read(path)
    assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())


def test_a_wrapper_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth holds no state dict: model are no tensors"):
        read(tmp_path / "a.pth")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    torch.save({3: torch.ones(1), "module.a": torch.ones(1)}, tmp_path / "a.pth")
    assert read(tmp_path / "a.pth").keys() == {"3", "module.a"}


def test_truncated_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(STATE, path)
    whole = path.read_bytes()
    for keep in (len(whole) // 3, len(whole) - 10):
        path.write_bytes(whole[:keep])
        with pytest.raises(InputError, match=r"a\.pth"):
            read(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no checkpoint .*a\.pth"):
        read(tmp_path / "a.pth")
    with pytest.raises(InputError, match="there is no checkpoint"):
        read(tmp_path)


def test_numbers_that_are_no_weights_misfit() -> None:
    index = torch.ones(2, dtype=torch.int64)
    expected = {"a": torch.zeros(3), "b": torch.zeros(2), "c": torch.zeros(2), "index": index}
    given = {
        "a": torch.ones(3, dtype=torch.int64),
        "b": torch.tensor([1.0, float("nan")]),
        "c": torch.ones(2, dtype=torch.float16),
        "index": index,
    }
    wrong = ["a is of torch.int64, expected floats", "b has values that are not finite"]
    assert misfits(given, expected) == ([], [], wrong)

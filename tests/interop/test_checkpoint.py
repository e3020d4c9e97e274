"""Foreign checkpoints are read as data; nothing in them runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from vitnas.errors import InputError
from vitnas.interop.checkpoint import read

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
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_states_and_their_wrappers(content: Any, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert_state(read(path))


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert_state(read(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickles_are_refused_and_do_not_run(zipped: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "trace"
    torch.save({"model": STATE, "x": Bomb(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"a\.pth (holds Python objects|is damaged)") as caught:
        read(path)
    assert "\n" not in str(caught.value)
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

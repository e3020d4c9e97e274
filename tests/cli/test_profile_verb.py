"""`vitnas profile`: memory, latency, and the table of a space."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import vitnas
from vitnas import cost
from vitnas.cost.table import LatencyTable

from .calling import refusal
from .conftest import Command
from .test_listing import cells

SPACE = """
family: vit
depth: [1, 2]
embed_dim: [8]
num_heads: [1]
mlp_ratio: [1, 2]
"""
ARCH = vitnas.Arch("vit", depth=2, embed_dim=8, num_heads=(1, 1), mlp_ratio=(1, 2)).to_json()
SMALL = ("--img-size", "32", "--num-classes", "3", "--device", "cpu", "--repeats", "3")
MS = r"[\d.e-]+"


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A space of two kinds of block."""
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def test_memory_and_latency_have_their_settings_beside(command: Command) -> None:
    words = ("--batch-size", "2", "--threads", "1", "--dtype", "bfloat16")
    result = command("profile", ARCH, *SMALL, *words)
    assert (result.code, result.err) == (0, "")
    rows = cells(result.out)
    how: dict[str, Any] = {"device": "cpu", "threads": 1, "dtype": "bfloat16", "batch_size": 2}
    peak = cost.memory(vitnas.Arch.from_json(ARCH), 3, 32, **how)
    assert ["memory", "peak of activations, bytes", f"{peak:,}"] in rows
    (latency,) = (row for row in rows if row[0] == "latency")
    assert latency[1] == "ms, median of 3 (5th to 95th percentile)"
    assert re.fullmatch(rf"{MS} \({MS} to {MS}\)", latency[2])
    settings = cost.settings(**how)
    assert result.out.splitlines()[-2:] == [f"memory: {settings}", f"latency: {settings}"]


def test_a_table_is_measured_once_and_says_its_error(
    command: Command, space: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tables" / "latency.json"
    words = ("profile", ARCH, *SMALL, "--threads", "1", "--table", path, "--space", space)
    first = command(*words)
    assert first.code == 0
    assert first.err.startswith("measuring latency by kind of block on cpu (")
    table = LatencyTable.load(path)
    assert len(table.rows) == 3
    seconds = f"{1e3 * table(vitnas.Arch.from_json(ARCH)):.4g}"
    row = ["latency", "ms, sum over kinds of block", seconds]
    assert row in cells(first.out)
    assert first.out.splitlines()[-1] == f"{path}: 3 kinds of block and root; {table.error}"
    before = path.read_bytes()
    again = command(*words, "--latency", "off")
    assert (again.code, again.err) == (0, "")
    assert row in cells(again.out)
    assert path.read_bytes() == before


def test_a_table_of_another_device_is_refused(
    command: Command, space: Path, tmp_path: Path
) -> None:
    path = tmp_path / "latency.json"
    words = ("profile", ARCH, *SMALL, "--latency", "off", "--table", path, "--space", space)
    assert command(*words, "--threads", "1").code == 0
    record = json.loads(path.read_text())
    record["settings"] |= {"device": "cuda:0", "hardware": "NVIDIA H100", "threads": None}
    path.write_text(json.dumps(record))
    here = cost.settings("cpu", threads=1)
    assert refusal(command(*words, "--threads", "1")) == (
        f"the latency table {path} was measured with device cuda:0, not cpu; hardware NVIDIA H100, "
        f"not {here.hardware}; threads None, not 1, and holds there only; measure another one"
    )


def test_the_space_of_a_supernet_is_known(command: Command, searched: Path, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    words = ("--latency", "off", "--device", "cpu", "--table", path)
    result = command("profile", searched / "supernet", *words)
    assert result.code == 0
    net = vitnas.load(searched / "supernet")
    assert isinstance(net, vitnas.Supernet)
    assert net.space is not None
    assert all(LatencyTable.load(path)(net.space.sample(seed)) > 0 for seed in range(20))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--table", "t.json"), "{arch} has no search space: name the one that the table is of, "
         "--space"),
        (("--dtype", "float8"), "unknown dtype 'float8'; did you mean 'float32'? (allowed: "
         "bfloat16, float16, float32)"),
        (("--backend", "tensorrt"), "unknown backend 'tensorrt' (allowed: compile, eager, "
         "onnxruntime)"),
        (("--threads", "0"), "threads is 0; it must be a whole number from 1"),
        (("--batch-size", "0"), "batch_size is 0; it must be a whole number from 1"),
        (("--repeats", "1"), "repeats is 1; it must be at least 2"),
    ],
)  # fmt: skip
def test_refusals(words: tuple[str, ...], message: str, command: Command) -> None:
    assert refusal(command("profile", ARCH, *SMALL, *words)) == message.format(arch=ARCH)

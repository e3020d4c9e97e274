"""Latency by ONNX Runtime and by torch.compile, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vitnas
from vitnas import cost
from vitnas.cost import backends, onnx_runtime
from vitnas.cost.table import LatencyTable
from vitnas.run import LATENCY
from vitnas.search.ledger import read
from vitnas.space import Choice, Space

from .conftest import Command

SPACE = Space(
    "vit",
    (
        Choice("depth", (1, 2)),
        Choice("mlp_ratio", (1,), "block"),
        Choice("num_heads", (1,), "block"),
        Choice("embed_dim", (8,)),
        Choice("patch_size", (4,)),
        Choice("head_dim", (8,)),
    ),
)
DIGITS: dict[str, Any] = {"num_classes": 10, "img_size": 8, "in_chans": 1}


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "compile"])
def test_a_search_is_limited_by_latency_of_a_backend(
    backend: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of block, and each whole net, is prepared once."""
    exported: list[Any] = []
    session = onnx_runtime.session

    def remember(*args: Any) -> Any:
        exported.append(args)
        return session(*args)

    monkeypatch.setattr(backends, "session", remember)
    vitnas.save(vitnas.Supernet(SPACE, **DIGITS), tmp_path / "net")
    words = (
        "search",
        tmp_path / "net",
        "--data",
        "digits",
        "--strategy",
        "random",
        "--trials",
        "2",
    )
    small = ("--device", "cpu", "--images", "20", "--batch-size", "20")
    how = ("--measure", f"backend={backend}", "--measure", "threads=1")
    result = command(*words, *small, *how, "--max-latency", "10s")
    assert result.code == 0, result.err
    search = tmp_path / "net" / "searches" / "random"
    table = LatencyTable.load(search / LATENCY)
    assert table.settings == cost.settings("cpu", threads=1, backend=backend)
    assert len(table.rows) == table.kinds == 2
    for record in read(search)[1]:
        assert record.metrics["latency"] == table(record.arch) > 0
    assert result.out.splitlines()[-1] == f"latency is for {table.settings}; {table.error}"
    assert len(exported) == (5 if backend == "onnxruntime" else 0)  # both ends, a block, two nets


@pytest.mark.parametrize(
    "backend", ["onnxruntime", pytest.param("compile", marks=pytest.mark.slow)]
)
def test_a_profile_tells_the_latency_of_a_backend(backend: str, command: Command) -> None:
    words = ("--img-size", "8", "--num-classes", "3", "--repeats", "3", "--threads", "1")
    arch = SPACE.largest.to_json()
    result = command("profile", arch, *words, "--device", "cpu", "--backend", backend)
    assert result.code == 0, result.err
    settings = cost.settings("cpu", threads=1, backend=backend)
    assert result.out.splitlines()[-1] == f"latency: {settings}"
    assert "ms, median of 3 (5th to 95th percentile)" in result.out

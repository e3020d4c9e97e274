"""Exports in environments made anew, with torch and timm alone or ONNX Runtime alone.

They are made by uv, which takes packages from its cache or from the registry: without a cache torch
is gigabytes. Both versions are those that are installed here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch

import vitnas
from cli.calling import call
from vitnas.space import Choice, Space

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
DIGITS: dict[str, Any] = {"num_classes": 10, "img_size": 8, "in_chans": 1}
VIT = Space(
    "vit",
    (
        Choice("depth", (2, 3)),
        Choice("mlp_ratio", (2.0, 3.0), "block"),
        Choice("num_heads", (2, 4), "block"),
        Choice("embed_dim", (24, 32)),
        Choice("patch_size", (2,)),
        Choice("head_dim", (8,)),
    ),
)
ALIKE = {"mlp_ratio": (2.0,) * 3, "num_heads": (4,) * 3}
NETS = {
    "autoformer": (vitnas.space("autoformer-digits"), vitnas.space("autoformer-digits").sample(1)),
    "s3": (vitnas.space("s3-digits"), vitnas.space("s3-digits").sample(1)),
    "stock": (VIT, VIT.largest.replace(**ALIKE)),
    "vit": (VIT, VIT.largest.replace(num_heads=(4, 2, 4))),
    "vitas": (vitnas.space("vitas-digits"), vitnas.space("vitas-digits").sample(1)),
}


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and each net: its model folder, as the command line takes it out, and its logits."""
    root = tmp_path_factory.mktemp("nets")
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    np.save(root / "images.npy", images.numpy())
    for name, (space, arch) in NETS.items():
        torch.manual_seed(0)
        net = vitnas.Supernet(space, **DIGITS)
        for parameter in net.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        vitnas.save(net, root / name / "supernet")
        output = root / name / "model"
        words = ("extract", root / name / "supernet", "--arch", arch.to_json(), "--output", output)
        assert call(*words) == 0
        with torch.inference_mode():
            np.save(root / name / "logits.npy", vitnas.load(output)(images).numpy())
    return root


def environment(folder: Path, *packages: str) -> Path:
    """Return the Python of a new environment that has these packages, of the versions here."""
    uv = shutil.which("uv")
    assert uv is not None, "these tests need uv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    pinned = [f"{name}=={version(name).partition('+')[0]}" for name in packages]
    python = folder / "bin" / "python"
    words: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", python, *pinned]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def onnx_python() -> Iterator[Path]:
    """The Python of an environment that has ONNX Runtime alone."""
    with TemporaryDirectory() as folder:
        yield environment(Path(folder), "onnxruntime")


def run(python: Path, script: str, *args: Path) -> str:
    """Run a script where neither this project nor its folder is known; return what it prints."""
    words: list[str | Path] = [python, "-I", HERE / script, *args]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_and_timm_are_enough(nets: Path) -> None:
    for name in NETS:
        assert call("export", nets / name / "model", "--out", nets / name / "timm") == 0
    with TemporaryDirectory() as folder:
        python = environment(Path(folder), "torch", "timm")
        assert run(python, "fresh_timm.py", nets).split() == sorted(NETS)


@pytest.mark.parametrize("name", NETS)
def test_onnx_runtime_is_enough(name: str, nets: Path, onnx_python: Path, tmp_path: Path) -> None:
    out = tmp_path / "onnx"
    assert call("export", nets / name / "model", "--to", "onnx", "--out", out) == 0
    files = nets / "images.npy", out / "model.onnx", nets / name / "logits.npy"
    assert run(onnx_python, "fresh_onnxruntime.py", *files) == ""

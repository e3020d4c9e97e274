"""Readers of files from outside, each with a sound file, for the tests that spoil these."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import vitnas
from vitnas.cli.target import read_arch
from vitnas.cost.conditions import Settings
from vitnas.cost.table import LatencyTable, TableError
from vitnas.errors import InputError
from vitnas.interop import cream, mmrazor, nni, s3, vitas
from vitnas.train.metrics import read_metrics
from vitnas.train.reading import load_recipe

SPACE = "family: autoformer\ndepth: [1, 2]\nembed_dim: [16, 24]\nnum_heads: [1]\nmlp_ratio: [2]\n"
RECIPE = "space: autoformer-digits\ndata: digits\nepochs: 3\nlr: 1.0e-3\n"
Read = Callable[[Path], object]


def outcome(read: Read, path: Path) -> str:
    """Return why a file was refused; nothing where it was read."""
    try:
        read(path)
    except InputError as error:
        refusal = str(error)
        assert refusal
        return refusal
    return ""


def net(tmp: Path) -> Path:
    """Save a tiny model, and return its folder."""
    arch = vitnas.Arch("autoformer", depth=1, embed_dim=8, num_heads=(1,), mlp_ratio=(2,))
    model = vitnas.build(arch, num_classes=3, img_size=8, patch_size=4, in_chans=1, head_dim=8)
    vitnas.save(model, tmp / "net")
    return tmp / "net"


def table(tmp: Path) -> Path:
    """Save a table of latencies, and return its file."""
    settings = Settings("cpu", "a CPU", 2, "float32", "eager", 1, "torch")
    error = TableError(10, 0.01, 0.03, 0.0)
    return LatencyTable("autoformer", {"num_classes": 10}, settings, 0, 0.0, error, {}).save(
        tmp / "latency.json"
    )


TEXTS: dict[str, tuple[str, Read]] = {
    "space.yaml": (SPACE, vitnas.space),
    "recipe.yaml": (RECIPE, load_recipe),
    "arch.json": (vitnas.arch("autoformer-tiny").to_json(), lambda path: read_arch(str(path))),
    "arch.yaml": (
        json.dumps(nni.foreign(vitnas.arch("autoformer-tiny"))),
        lambda path: read_arch(str(path)),
    ),
    "metrics.jsonl": (
        '{"kind": "step", "step": 1, "epoch": 0, "loss": 2.5}\n' * 3,
        read_metrics,
    ),
}


def described(system: ModuleType, name: str) -> tuple[Any, Read]:
    """Return an architecture as a system describes it, and what reads such descriptions."""
    return system.foreign(vitnas.arch(name)), lambda path: system.arch(json.loads(path.read_text()))


RECORDS: dict[str, tuple[Any, Read]] = {
    "arch.json": (vitnas.arch("vitas-a").to_dict(), lambda path: read_arch(str(path))),
    "nni.json": described(nni, "autoformer-tiny"),
    "mmrazor.json": described(mmrazor, "mmrazor-autoformer-base"),
    "vitas.json": described(vitas, "vitas-a"),
    "s3.json": described(s3, "s3-tiny"),
    "cream.json": described(cream, "autoformer-tiny"),
}

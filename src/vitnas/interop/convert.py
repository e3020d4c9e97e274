"""Foreign checkpoints into model folders."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.folder import save
from vitnas.interop import checkpoint

SOURCES = {"cream": "vitnas.interop.cream"}


def convert(
    path: str | Path,
    folder: str | Path,
    source: str = "cream",
    *,
    arch: Arch | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Read a checkpoint of another system and write it as a model folder; return the folder.

    Args:
        path: the checkpoint (.pth, .pt or .safetensors).
        folder: where to write.
        source: the system that it comes from, one of `SOURCES`.
        arch: take this subnet out; by default the whole supernet is kept.
        config: the original constructor's arguments; by default read off the tensors' shapes.

    Raises:
        InputError: the source is unknown, the file can't be read or is none of that source's.
    """
    if source not in SOURCES:
        raise unknown("checkpoint source", source, SOURCES)
    if Path(folder).is_dir() and any(Path(folder).iterdir()):
        raise InputError(f"{folder} is not empty; name a new folder")
    module = import_module(SOURCES[source])
    state = checkpoint.read(path)
    given = dict(config) if config is not None else module.infer_config(state)
    net = module.load(state, given)
    provenance = {"source": source, "file": Path(path).name, "config": given}
    return save(net if arch is None else net.extract(arch), folder, provenance=provenance)

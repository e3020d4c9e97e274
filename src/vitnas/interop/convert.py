"""Foreign checkpoints into model folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.folder import save
from vitnas.interop import checkpoint
from vitnas.space import Space
from vitnas.supernet import Supernet

SOURCES = {"cream": "vitnas.interop.cream", "s3": "vitnas.interop.s3"}


def convert(
    path: str | Path,
    folder: str | Path,
    source: str = "cream",
    *,
    arch: Arch | None = None,
    space: Space | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Read a checkpoint of another system and write it as a model folder; return the folder.

    The folder appears when it is complete, or not at all.

    Args:
        path: the checkpoint (.pth, .pt or .safetensors).
        folder: where to write; it must not exist, or be empty.
        source: the system that it comes from, one of `SOURCES`.
        arch: take this subnet out; by default the whole supernet is kept. Sources of single
            networks (s3) take none, and no space.
        space: what the supernet can be searched for; without one it runs all that fit inside.
        config: the original constructor's arguments; by default read off the tensors' shapes.

    Raises:
        InputError: the source is unknown, the file can't be read or is none of that source's, the
            architecture or the space doesn't fit it, or the folder can't be written.
    """
    if source not in SOURCES:
        raise unknown("checkpoint source", source, SOURCES)
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; name a new folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"can't write {folder}: it is a file; name a new folder")
    if config is not None and not isinstance(config, Mapping):
        raise InputError(f"the config must map the original's arguments to values, not {config!r}")
    module = import_module(SOURCES[source])
    state = checkpoint.read(path)
    given = dict(config) if config is not None else module.infer_config(state)
    net = module.load(state, given, space)
    provenance = {"source": source, "file": Path(path).name, "config": given}
    if arch is not None:
        if not isinstance(net, Supernet):
            raise InputError(f"{path} is one network, no supernet: leave the architecture out")
        net = net.extract(arch)
    with _whole(folder) as unfinished:
        save(net, unfinished, provenance=provenance)
    return folder


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Give a folder beside the named one to write to, which takes its name in the end."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.replace(folder)
    except OSError as error:
        raise InputError(f"can't write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)

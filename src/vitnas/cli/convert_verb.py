"""`vitnas convert`."""

from __future__ import annotations

from pathlib import Path

from vitnas.cli.log import console
from vitnas.cli.target import read_arch
from vitnas.files import read_json


def convert(
    checkpoint: Path,
    folder: Path,
    *,
    source: str = "cream",
    arch: str | None = None,
    config: Path | None = None,
) -> Path:
    """Read a checkpoint of another system and write it as a model folder.

    Args:
        checkpoint: a .pth, .pt or .safetensors file.
        folder: the model folder to write.
        source: where it comes from: cream (official AutoFormer).
        arch: take this subnet out (a published name, or JSON); by default the supernet is kept.
        config: a JSON file with the original constructor's arguments; by default they are read
            off the weights.
    """
    from vitnas.interop.convert import convert as run

    subnet = None if arch is None else read_arch(arch)
    given = None if config is None else read_json(config)
    made = run(checkpoint, folder, source, arch=subnet, config=given)
    what = "supernet" if subnet is None else "subnet"
    console().print(f"{source} {what} written to {made}", highlight=False)
    return made

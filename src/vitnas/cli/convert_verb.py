"""`vitnas convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg as option

from vitnas.cli.log import say
from vitnas.cli.target import read_arch
from vitnas.cli.usage import MaybeFile, MaybeName, Name
from vitnas.files import read_json
from vitnas.spaces import space as find_space

File = Annotated[Path | None, option(metavar="FILE", help_behavior_hint="")]


def convert(
    checkpoint: Path,
    folder: Path,
    *,
    source: Name = "cream",
    arch: MaybeName = None,
    space: MaybeName = None,
    config: MaybeFile = None,
) -> Path:
    """Read a checkpoint of another system and write it as a model folder.

    Args:
        checkpoint: a .pth, .pt or .safetensors file.
        folder: the model folder to write.
        source: where it comes from: cream (official AutoFormer) or s3 (official AutoFormerV2).
        arch: take this subnet out (a published name, or JSON); by default the supernet is kept.
        space: a search space's name or YAML file, so that the supernet can be searched.
        config: JSON file with the original constructor's arguments; by default read off weights.
    """
    # Torch takes seconds to load, so names and files are looked at before.
    subnet = None if arch is None else read_arch(arch)[0]
    searched = None if space is None else find_space(space)
    given = None if config is None else read_json(config)
    from vitnas.folder import read_config
    from vitnas.interop.convert import convert as run

    made = run(checkpoint, folder, source, arch=subnet, space=searched, config=given)
    what = read_config(made)["kind"] if subnet is None else "subnet"
    say(f"{source} {what} written to {made}")
    return made

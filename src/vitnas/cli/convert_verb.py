"""`vitnas convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vitnas.cli.log import say
from vitnas.cli.target import read_arch, read_arguments
from vitnas.cli.usage import MaybeFile, MaybeName
from vitnas.errors import InputError
from vitnas.interop.originals import original
from vitnas.spaces import space as find_space


def convert(
    checkpoint: Path,
    target: Path,
    *,
    source: MaybeName = None,
    to: MaybeName = None,
    arch: MaybeName = None,
    space: MaybeName = None,
    config: MaybeFile = None,
    lossy: Literal["no", "yes"] = "no",
) -> Path:
    """Read a checkpoint of another system as a model folder, or write one for another system.

    Systems: cream (official AutoFormer), nni, mmrazor, s3 (official AutoFormerV2), vitas.

    Args:
        checkpoint: a .pth, .pt or .safetensors file; with --to also a model folder.
        target: the model folder to write, or with --to the file (.pth, .pt or .safetensors).
        source: where it comes from; by default the names of its tensors tell.
        to: the system to write a checkpoint for; its arguments and architecture stand beside.
        arch: take this subnet out (a published name, or a file or text of any system's
            description), or of one network check that it is this; by default the supernet is kept.
        space: a search space's name or YAML file, so that the supernet can be searched; with --to,
            what is searched there (of one network by default what it is known to come from).
        config: JSON or YAML file with the original's arguments; by default read off the weights.
        lossy: yes: go on although the other system can't keep all of a supernet.
    """
    # Torch takes seconds to load, so names and files are looked at before.
    for name, what in ((source, "checkpoint source"), (to, "checkpoint format")):
        if name is not None:
            original(name, what)
    subnet = None if arch is None else read_arch(arch)[0]
    searched = None if space is None else find_space(space)
    given = read_arguments(config)
    if lossy == "yes" and to is None:
        raise InputError("a model folder keeps everything: --lossy is for --to SYSTEM")
    from vitnas.interop.convert import run

    made = run(checkpoint, target, source, to, subnet, searched, given, lossy == "yes")
    whom = "" if to is None else f" for {to}"
    say(f"{made.source} {made.kind} written to {made.path}{whom}: {made.sizes}")
    return made.path

"""Published architectures as data: what they are, what they cost, what they reached."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from vitnas.arch import Arch
from vitnas.errors import unknown


@dataclass(frozen=True)
class Entry:
    """A published architecture.

    `params` and `macs` are exact for 1000 classes at 224 px; `top1` and `top5` are ImageNet-1k
    accuracies in percent at 224 px, which `source` published; `space` is the preset that contains
    it; `note` is what else is to know.
    """

    name: str
    arch: Arch
    params: int
    macs: int
    top1: float
    top5: float
    space: str
    source: str
    note: str = ""


@cache
def entries() -> dict[str, Entry]:
    """Return all published architectures by name."""
    found = {}
    for file in sorted(files("vitnas.zoo").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            for name, record in json.loads(file.read_text()).items():
                found[name] = Entry(name, **{**record, "arch": Arch.from_dict(record["arch"])})
    return found


def archs() -> tuple[str, ...]:
    """Return the names of the published architectures."""
    return tuple(entries())


def arch(name: str) -> Arch:
    """Return a published architecture by name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in entries():
        raise unknown("architecture", name, entries())
    return entries()[name].arch

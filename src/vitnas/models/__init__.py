"""Model families. Adding one: its own file, and its line in `FAMILIES`."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from vitnas.arch import Arch, check_arch
from vitnas.errors import unknown
from vitnas.models.base import Config, Family, Kind, Unit, image_size, make_config

__all__ = [
    "FAMILIES",
    "Config",
    "Family",
    "Kind",
    "Unit",
    "family",
    "family_of",
    "image_size",
    "make_config",
]

FAMILIES = {
    "autoformer": "vitnas.models.autoformer",
    "s3": "vitnas.models.swin",
    "vit": "vitnas.models.vit",
    "vitas": "vitnas.models.vitas",
}


@cache
def family(name: str) -> Family:
    """Return a model family by name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in FAMILIES:
        raise unknown("model family", name, FAMILIES)
    found: Family = import_module(FAMILIES[name]).FAMILY
    return found


def family_of(arch: Arch) -> Family:
    """Return the model family of an architecture.

    Raises:
        InputError: it is no `Arch`, or there is no such family.
    """
    check_arch(arch)
    return family(arch.family)

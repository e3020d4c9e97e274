"""Exact multiply-adds in closed form. One multiply-add is two FLOPs; nothing here counts FLOPs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_args

from vitnas.arch import Arch
from vitnas.errors import unknown
from vitnas.models import Config, Kind, family, make_config
from vitnas.models.base import Attention


def macs(
    arch: Arch,
    num_classes: int = 1000,
    img_size: int | tuple[int, int] = 224,
    *,
    attention: Attention = "explicit",
    **options: Any,
) -> int:
    """Return the multiply-adds of one image: half of what torch's FLOP counter gives.

    Args:
        arch: the architecture.
        num_classes: classes of the head.
        img_size: height and width, or one number for both.
        attention: `explicit` counts relative positions as the originals compute them (comparable
            with published figures), `factorised` as this package does; families without relative
            positions have one figure.
        options: the family's other options, as for `vitnas.build`.

    Raises:
        InputError: the architecture lacks a gene of its family, or an option or the attention is
            unknown.
    """
    model = family(arch.family)
    config = make_config(model, arch, {**options, "num_classes": num_classes, "img_size": img_size})
    return count(arch, config, attention)


def count(arch: Arch, config: Config, attention: Attention = "explicit") -> int:
    """Return the multiply-adds of one image for the model with this config."""
    if attention not in get_args(Attention):
        raise unknown("attention", attention, get_args(Attention))
    units = family(arch.family).units(config, arch)
    return sum(_unit(arch.family, config, unit.kind, attention) for unit in units)


@lru_cache(maxsize=65536)
def _unit(name: str, config: Config, kind: Kind, attention: Attention) -> int:
    return family(name).macs(config, kind, attention)

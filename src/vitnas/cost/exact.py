"""Exact counts in closed form: a sum over the units of an architecture, remembered for each kind.

One multiply-add is two FLOPs; nothing here counts FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, get_args

from vitnas.arch import Arch
from vitnas.axes import parse
from vitnas.errors import unknown
from vitnas.models import Config, Kind, family, family_of, make_config
from vitnas.models.base import Attention


def params(
    arch: Arch,
    num_classes: int = 1000,
    img_size: int | tuple[int, int] = 224,
    **options: Any,
) -> int:
    """Return the number of parameters of the built model.

    Options are those of the family's config, as for `vitnas.build`.

    Raises:
        InputError: the architecture lacks a gene of its family, or an option is unknown.
    """
    options |= {"num_classes": num_classes, "img_size": img_size}
    return _sum(_params, arch, options)


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
    if attention not in get_args(Attention):
        raise unknown("attention", attention, get_args(Attention))
    options |= {"num_classes": num_classes, "img_size": img_size}
    return _sum(unit_macs, arch, options, attention)


def counters(**options: Any) -> dict[str, Callable[[Arch], int]]:
    """Return `params` and `macs` for models of the same options, as the costs of a search."""
    return {"params": partial(params, **options), "macs": partial(macs, **options)}


def _sum(count: Callable[..., int], arch: Arch, options: dict[str, Any], *how: Any) -> int:
    model = family_of(arch)
    name, config = model.name, make_config(model, arch, options)
    return sum([count(name, config, unit.kind, *how) for unit in model.units(config, arch)])


@lru_cache(maxsize=65536)
def _params(name: str, config: Config, kind: Kind) -> int:
    layouts = family(name).layouts(config, kind.role, False)
    return sum(parse(text).numel(kind.size) for text in layouts.values())


@lru_cache(maxsize=65536)
def unit_macs(name: str, config: Config, kind: Kind, attention: Attention) -> int:
    """Return the multiply-adds of a unit of a family for one image."""
    return family(name).macs(config, kind, attention)

"""Exact parameter counts in closed form."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from vitnas.arch import Arch
from vitnas.axes import parse
from vitnas.models import Config, Kind, family, make_config


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
    model = family(arch.family)
    config = make_config(model, arch, {**options, "num_classes": num_classes, "img_size": img_size})
    return count(arch, config)


def count(arch: Arch, config: Config) -> int:
    """Return the number of parameters of the model with this config."""
    units = family(arch.family).units(config, arch)
    return sum(_unit(arch.family, config, unit.kind) for unit in units)


@lru_cache(maxsize=65536)
def _unit(name: str, config: Config, kind: Kind) -> int:
    layouts = family(name).layouts(config, kind.role, False)
    return sum(parse(text).numel(kind.size) for text in layouts.values())

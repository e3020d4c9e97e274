"""The search space of an architecture, where nobody names one: other systems describe both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitnas.arch import Arch
from vitnas.interop.holding import differs
from vitnas.models.autoformer import FAMILY
from vitnas.space import Space
from vitnas.spaces import SPACES
from vitnas.spaces import space as preset
from vitnas.zoo import entries


def default_space(arch: Arch, to: str, known: Space | None = None) -> Space | None:
    """Return the space to describe an architecture in for a system, None if none is known.

    It is `known`, the space of the architecture's supernet; else of a published architecture the
    preset of the system itself, else that which it was published with. One that does not contain
    the architecture, or whose layers differ in their choices, which no system of AutoFormer can
    have, is passed over. Other families have no use for a space there.
    """
    if arch.family != FAMILY.name:
        return None
    for space in (known, *_published(arch, to)):
        if space is not None and arch in space and not any(map(differs, space.choices)):
            return space
    return None


def recorded_space(record: Mapping[str, Any]) -> Space | None:
    """Return the space in the record of a model folder: a supernet's, or that of a model's.

    Raises:
        InputError: what the record has is no space.
    """
    origin = record.get("provenance")
    told = record.get("space") or (origin.get("space") if isinstance(origin, Mapping) else None)
    return Space.from_dict(told) if told else None


def _published(arch: Arch, to: str) -> Iterator[Space]:
    for entry in entries().values():
        if entry.arch == arch:
            yield from (preset(name) for name in SPACES if name.startswith(f"{to}-"))
            yield preset(entry.space)

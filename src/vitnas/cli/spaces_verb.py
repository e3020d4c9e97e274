"""`vitnas spaces`."""

from __future__ import annotations

from typing import Annotated

import tyro

from vitnas import cost
from vitnas.cli.log import table
from vitnas.space import Space
from vitnas.spaces import SPACES, space


def spaces(name: Annotated[str | None, tyro.conf.Positional] = None) -> None:
    """List the search spaces, or show one.

    Parameters and MACs are for 1000 classes and 224 px, or the smallest image that fits.

    Args:
        name: the name of a search space, or a YAML file.
    """
    if name is None:
        rows = [[key, *_summary(make())] for key, make in SPACES.items()]
        table("Search spaces", ["name", "architectures", "params", "MACs"], rows)
        return
    found = space(name)
    choices = [
        [
            choice.name,
            {"block": "layer", "net": "net"}.get(choice.level, choice.level),
            _list(choice.values),
        ]
        for choice in found.choices
    ]
    table(found.name or name, ["gene", "one a", "values"], choices, left=3)
    table("", ["architectures", "params", "MACs"], [_summary(found)], left=0)


def _summary(found: Space) -> list[str]:
    low, high = found.smallest, found.largest
    params = [cost.params(arch) / 1e6 for arch in (low, high)]
    macs = [cost.macs(arch) / 1e9 for arch in (low, high)]
    size = found.size()
    return [
        f"{size:,}" if size < 1e9 else f"{size:.2e}",
        f"{params[0]:.2f} M to {params[1]:.2f} M",
        f"{macs[0]:.2f} G to {macs[1]:.2f} G",
    ]


def _list(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))

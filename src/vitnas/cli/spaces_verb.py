"""`vitnas spaces`."""

from __future__ import annotations

from functools import partial
from typing import Any

from vitnas.cli.log import say, table
from vitnas.cli.usage import Number, PositionalName, Sizes, read_sizes
from vitnas.cost import macs, params
from vitnas.report.figures.style import quantity
from vitnas.search.guided import ends
from vitnas.space import Space
from vitnas.spaces import SPACES, space


def spaces(
    name: PositionalName = None,
    *,
    num_classes: Number = 1000,
    img_size: Sizes = (224,),
) -> None:
    """List the search spaces with the range of their subnets' costs, or show one.

    Args:
        name: the name of a search space, or a YAML file.
        num_classes: classes of the head.
        img_size: of the images, which parameters and MACs depend on.
    """
    options = {"num_classes": num_classes, "img_size": read_sizes(img_size)}
    columns = ["architectures", "params", "MACs"]
    if name is None:
        rows = [[key, *_summary(make(), options)] for key, make in SPACES.items()]
        table("Search spaces", ["name", *columns], rows)
        return
    found = space(name)
    shared = "stage" if found.stages else "net"
    choices = [
        [
            choice.name,
            shared if choice.tied else {"block": "layer"}.get(choice.level, choice.level),
            ", ".join(map(str, choice.values)),
        ]
        for choice in found.choices
    ]
    table(found.name or name, ["gene", "one a", "values"], choices, left=3)
    say("")
    table("", columns, [_summary(found, options)], left=0)


def _summary(found: Space, options: dict[str, Any]) -> list[str]:
    size = found.size()
    counts = (partial(count, **options) for count in (params, macs))
    ranges = [map(quantity, ends(found, count)) for count in counts]
    return [f"{size:,}" if size < 1e9 else f"{size:.2e}", *map(" to ".join, ranges)]

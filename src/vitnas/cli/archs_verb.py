"""`vitnas archs`."""

from __future__ import annotations

from vitnas.cli.log import say, table
from vitnas.cli.usage import PositionalName
from vitnas.report.figures.style import quantity
from vitnas.zoo import arch, entries


def archs(name: PositionalName = None) -> None:
    """List the published architectures, or print one as JSON.

    Parameters and MACs are exact, for 1000 classes at 224 px; accuracies are the authors' own.

    Args:
        name: the name of an architecture.
    """
    if name is not None:
        say(arch(name).to_json())
        return
    rows = [
        [
            entry.name,
            entry.space,
            quantity(entry.params),
            quantity(entry.macs),
            f"{entry.top1:.1f}",
            f"{entry.top5:.1f}",
        ]
        for entry in entries().values()
    ]
    columns = ["name", "space", "params", "MACs", "top-1", "top-5"]
    table("Published architectures (ImageNet-1k)", columns, rows, left=2)

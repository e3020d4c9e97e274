"""`vitnas archs`."""

from __future__ import annotations

from typing import Annotated

import tyro

from vitnas.cli.log import console, table
from vitnas.zoo import arch, entries


def archs(name: Annotated[str | None, tyro.conf.Positional] = None) -> None:
    """List the published architectures, or print one as JSON.

    Parameters and MACs are exact, for 1000 classes at 224 px; accuracies are the authors' own.

    Args:
        name: the name of an architecture.
    """
    if name is not None:
        console().print(arch(name).to_json(), soft_wrap=True, highlight=False)
        return
    rows = [
        [
            entry.name,
            f"{entry.params / 1e6:.2f} M",
            f"{entry.macs / 1e9:.2f} G",
            f"{entry.top1:.1f}",
            f"{entry.top5:.1f}",
            entry.space,
        ]
        for entry in entries().values()
    ]
    columns = ["name", "params", "MACs", "top-1", "top-5", "space"]
    table("Published architectures (ImageNet-1k)", columns, rows)

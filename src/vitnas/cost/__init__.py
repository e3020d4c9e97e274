"""What an architecture costs. Parameters and multiply-adds are closed forms; latency is measured.

No module is built to count: parameters are the products of the axes of every layout, multiply-adds
a formula of each unit's sizes, peak memory a maximum over units that are traced without computing.
All are remembered per kind of unit, and so is latency, in a table that is measured once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitnas.cost.conventions import CONVENTIONS, convention
from vitnas.cost.exact import counters, macs, params

if TYPE_CHECKING:
    from vitnas.cost.activations import memory
    from vitnas.cost.conditions import Settings, settings
    from vitnas.cost.measured import Latency, latency
    from vitnas.cost.table import LatencyTable, latency_table

__all__ = [
    "CONVENTIONS",
    "Latency",
    "LatencyTable",
    "Settings",
    "convention",
    "counters",
    "latency",
    "latency_table",
    "macs",
    "memory",
    "params",
    "settings",
]

_LAZY = {
    "Latency": "measured",
    "LatencyTable": "table",
    "Settings": "conditions",
    "latency": "measured",
    "latency_table": "table",
    "memory": "activations",
    "settings": "conditions",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'vitnas.cost' has no attribute {name!r}")

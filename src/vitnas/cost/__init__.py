"""What an architecture costs. Parameters and multiply-adds are closed forms; latency is measured.

No module is built to count: parameters are the products of the axes of every layout, multiply-adds
a formula of each unit's sizes. Both are remembered per kind of unit.
"""

from vitnas.cost.conventions import CONVENTIONS, convention
from vitnas.cost.exact import counters, macs, params

__all__ = ["CONVENTIONS", "convention", "counters", "macs", "params"]

"""Every strategy proposes members of a space whose gene increases from layer to layer."""

from __future__ import annotations

from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.search.limits import Limit, Window
from vitnas.search.searcher import STRATEGIES, Waiting, make_searcher
from vitnas.space import Choice, Space

SPACE = Space(
    "toy",
    (
        Choice("depth", (1, 2, 3, 4)),
        Choice("slot", (0, 1, 2, 3), "block", increasing=True),
        Choice("width", (2, 5, 6), "block"),
        Choice("patch", (4, 8)),
    ),
)
OPTIONS: dict[str, dict[str, Any]] = {
    "slimming": {"cost": "cost"},
    "nsga2": {"population": 10, "minimize": []},
    "evolution": {"population": 10, "parents": 4, "crossovers": 4, "mutants": 4},
    "regularized": {"population": 10, "sample": 4},
    "tpe": {"startup": 20},
    "gp": {"startup": 36},
}


def cost(arch: Arch) -> float:
    """Return a cost that a slot has no effect on."""
    return float(sum(arch.width) * arch.patch)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_proposals_are_members_and_new(strategy: str) -> None:
    limits = () if strategy == "slimming" else (Limit("cost", maximum=150.0),)
    window = Window(limits, {"cost": cost})
    searcher = make_searcher(strategy, SPACE, window, 0, OPTIONS.get(strategy, {}))
    seen: list[Arch] = []
    while len(seen) < 40:
        try:
            arch = searcher.ask()
        except Waiting as error:
            raise AssertionError("nothing is outstanding") from error
        if arch is None:
            assert strategy == "slimming"
            break
        SPACE.validate(arch)
        seen.append(arch)
        searcher.tell(arch, -abs(cost(arch) - 90) + sum(arch.slot))
    assert len(set(seen)) == len(seen) >= 10
    assert all(map(window, seen))

"""A toy space evolution, and the same one killed: evolving.py FOLDER EVALUATIONS.

The "supernet" of a round is what it was asked for; the accuracy of a subnet is best at a depth and
width outside of the start space. The process kills itself before the EVALUATIONS-th evaluation.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.search.limits import Costs, Limit
from vitnas.search.racing import Hopeless, Result
from vitnas.search.space_evolution import Trained, evolve_space
from vitnas.search.space_evolution_round import Options, Round
from vitnas.space import Choice, Space

SPACE = Space(
    "toy",
    (
        Choice("depth", ((1, 2, 3), (2, 3, 4)), "stage"),
        Choice("num_heads", (2, 3, 4), "block"),
        Choice("embed_dim", ((16, 24, 32), (32, 48, 64)), "stage"),
    ),
    stages=2,
)
BEST = {"depth": (2, 5), "num_heads": (3, 5), "embed_dim": (24, 48)}
GAPS = {"depth": (1, 1), "num_heads": (1, 1), "embed_dim": (8, 16)}
SUBNETS = 60


def macs(arch: Arch) -> float:
    """Return a cost that grows with every gene."""
    return float(
        sum(
            depth * width * sum(heads)
            for depth, width, heads in zip(arch.depth, arch.embed_dim, arch.num_heads, strict=True)
        )
    )


COSTS: Costs = {"macs": macs}
LIMITS = (Limit("macs", maximum=20_000),)


def top1(arch: Arch) -> float:
    """Return the toy accuracy, 90 at its best."""
    genes: Any = arch
    away = 0.0
    for gene, best in BEST.items():
        for stage, value in enumerate(genes[gene]):
            values = value if isinstance(value, tuple) else (value,)
            distances = [abs(v - best[stage]) / GAPS[gene][stage] for v in values]
            away += sum(distances) / len(distances)
    return 90 - 0.6 * away


class Toy:
    """Counts what the loop asks for."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.trained: list[tuple[int, Space]] = []
        self.evaluated: list[Arch] = []
        self.kill_at = kill_at

    def train(self, space: Space, number: int) -> Trained:
        """Return what evaluates the toy subnets."""
        self.trained.append((number, space))
        return Trained(self.evaluate, f"weights of round {number}")

    def evaluate(self, archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        """Return the toy accuracies, unless this is the evaluation to die in."""
        assert hopeless is None
        self.evaluated += archs
        if self.kill_at is not None and len(self.evaluated) >= self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return [{"score": top1(arch)} for arch in archs]


def run(folder: Path, toy: Toy, **changes: Any) -> list[Round]:
    """Evolve the toy space."""
    settings: dict[str, Any] = {
        "costs": COSTS,
        "limits": LIMITS,
        "rounds": 3,
        "subnets": SUBNETS,
        "options": Options(resamples=100, false_moves=0.5),
        "seed": 3,
        "together": 4,
        **changes,
    }
    return evolve_space(settings.pop("space", SPACE), toy.train, folder=folder, **settings)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Toy(int(sys.argv[2])))

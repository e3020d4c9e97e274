"""Accuracy during training, on the search split (never on test)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from vitnas.data.cache import EvalSet, eval_cache
from vitnas.evaluate import Scores, evaluate, evaluate_subnets
from vitnas.train.samplers import derived_seed

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vitnas.data.sources import Data
    from vitnas.data.transforms import Input
    from vitnas.space import Space

Evaluate: TypeAlias = Callable[[nn.Module], dict[str, float]]
"""From the model, in evaluation mode, to named metrics; called by every process."""


def make_evaluate(
    fabric: Fabric, data: Data, input: Input, folder: Path, *, space: Space | None, seed: int
) -> Evaluate:
    """Return the usual evaluation: top-1 in percent on the search split.

    Of a supernet the smallest, the largest and one random subnet (the same every time) are
    evaluated: `top1_smallest`, `top1_largest`, `top1_random`; of another model `top1`. The decoded
    images are kept in a file in `folder`; each process evaluates a share of them.
    """
    with fabric.rank_zero_first():
        images = eval_cache(data.search, input, folder=folder)
    mine = slice(fabric.global_rank, None, fabric.world_size)
    share = EvalSet(images.images[mine], images.labels[mine], images.mean, images.std)

    def top1(scores: Scores) -> float:
        # Of a bilateral supernet an image can be half right.
        halves = torch.tensor(round(2 * scores.top1 * scores.images / 100), device=fabric.device)
        total: Any = fabric.all_reduce(halves, reduce_op="sum")
        return 100 * int(total) / (2 * len(images))

    def judge(model: nn.Module) -> dict[str, float]:
        device = fabric.device
        if space is None:
            return {"top1": top1(evaluate(model, share, device=device))}
        archs = {
            "top1_smallest": space.smallest,
            "top1_largest": space.largest,
            "top1_random": space.sample(derived_seed("evaluation", seed)),
        }
        scores = evaluate_subnets(model, archs.values(), share, device=device)  # type: ignore[call-overload]
        return {name: top1(score) for name, score in zip(archs, scores, strict=True)}

    return judge

"""The subnets of a supernet as candidates of a search: what evaluates them, on which images."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from vitnas.arch import Arch
from vitnas.data.cache import EvalSet
from vitnas.errors import InputError
from vitnas.evaluate import Batches, Stopped, evaluate_subnets, hard_first
from vitnas.search.racing import Evaluate, Hopeless, Result
from vitnas.supernet import Supernet


def evaluation(
    net: Supernet,
    split: Batches,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> Evaluate:
    """Return what `vitnas.search.study.search` needs: subnets ranked by top-1 on a split.

    Top-5 and loss are recorded beside, of stopped ones how many images they have seen.
    """

    def evaluate(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        found = evaluate_subnets(
            net, archs, split, batch_size=batch_size, device=device, hopeless=hopeless
        )
        return [
            {"at_most": one.at_most, "images": one.images}
            if isinstance(one, Stopped)
            else {"score": one.top1, "top5": one.top5, "loss": one.loss}
            for one in found
        ]

    return evaluate


def racing_order(
    net: Supernet,
    split: EvalSet,
    seed: int,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> EvalSet:
    """Return the split with hard images first, so that racing knows early who is hopeless.

    Which are hard, the largest, the smallest and two subnets drawn with the seed say.

    Raises:
        InputError: the supernet has no search space, or the split is empty.
    """
    if net.space is None:
        raise InputError("a supernet without a search space can't be searched")
    rng = random.Random(seed)
    drawn = [net.space.sample(rng) for _ in range(2)]
    judges = [net.space.largest, net.space.smallest, *drawn]
    return hard_first(net, split, judges, batch_size=batch_size, device=device)

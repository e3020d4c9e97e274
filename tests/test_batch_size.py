"""The best batch size, against a clock that a model turns by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vitnas.batch_size import best_batch_size
from vitnas.data.cache import EvalSet
from vitnas.errors import InputError
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet


class Timed(nn.Module):
    """Takes the seconds that a function says for a batch of that size, on a clock of its own."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        super().__init__()
        self.seconds, self.now = seconds, 0.0
        self.seen: list[int] = []

    def clock(self) -> float:
        return self.now

    def forward(self, images: Tensor) -> Tensor:
        self.now += self.seconds(len(images))
        if len(images) not in self.seen:
            self.seen.append(len(images))
        return images.flatten(1)[:, :3]


def _split(count: int) -> EvalSet:
    images = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    return EvalSet(images, torch.zeros(count, dtype=torch.int64), (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        (lambda n: 0.1 + n / 1e5, 2048, [8, 16, 32, 64, 128, 256, 512, 1024, 2048]),
        (lambda n: n * (1 if n <= 32 else 2) / 1e3, 8, [8, 16, 32, 64]),  # equals: the smallest
        (lambda n: n * (abs(n - 64) + 1) / 1e5, 64, [8, 16, 32, 64, 128]),
        (lambda n: n * (1 - n / 1e5) / 1e6, 8, [8, 16, 32, 64, 128, 256, 512, 1024, 2048]),
        (lambda n: n * (1 - n / 1e4) / 100, 8, [8, 16, 32, 64, 128]),  # a second is enough
    ],
)
def test_the_fastest_is_found(seconds: Callable[[int], float], best: int, tried: list[int]) -> None:
    model = Timed(seconds)
    assert best_batch_size(model, _split(4000), clock=model.clock) == best
    assert model.seen == tried
    assert not model.training


def test_no_size_is_larger_than_need_be() -> None:
    model = Timed(lambda n: 0.1)
    assert best_batch_size(model, _split(50), clock=model.clock) == 64
    assert model.seen == [8, 16, 32, 50]


def test_memory_that_runs_out_ends_it() -> None:
    def seconds(count: int) -> float:
        if count > limit:
            raise torch.OutOfMemoryError("no memory left")
        return 0.1

    limit = 100
    model = Timed(seconds)
    assert best_batch_size(model, _split(4000), clock=model.clock) == 64
    limit = 4
    with pytest.raises(InputError, match="a batch of 8 images does not fit into the memory of cpu"):
        best_batch_size(model, _split(4000), clock=model.clock)


def test_a_supernet_by_the_real_clock() -> None:
    space = Space(
        "vit",
        (
            Choice("depth", (1, 2)),
            Choice("mlp_ratio", (1.0,), "block"),
            Choice("num_heads", (1, 2), "block"),
            Choice("embed_dim", (16,)),
        ),
    )
    net = Supernet(space, 4, 8, patch_size=4, head_dim=8)
    found = best_batch_size(net, _split(40), sizes=(8, 16, 32), seconds=0.01)
    assert found in (8, 16, 32)
    assert not net.training


def test_an_empty_split() -> None:
    with pytest.raises(InputError, match="can't find a batch size on an empty split"):
        best_batch_size(nn.Flatten(), _split(0))

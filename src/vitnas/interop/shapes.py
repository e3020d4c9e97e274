"""What the shapes of foreign tensors say together, so that one that is wrong does not decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vitnas.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def vote(state: Mapping[str, Tensor], places: Mapping[str, int], original: str) -> int:
    """Return the size that most tensors have; `places` says along which dimension of which.

    Raises:
        InputError: none of the tensors is there.
    """
    told = [
        state[name].shape[dim]
        for name, dim in places.items()
        if name in state and state[name].dim() > dim
    ]
    if not told:
        some = [*list(places)[:4], *(["..."] if len(places) > 4 else [])]
        raise InputError(f"not {original} weights: {', '.join(some)} missing")
    return Counter(told).most_common(1)[0][0]


def num_classes(state: Mapping[str, Tensor], names: tuple[str, str], original: str) -> int:
    """Return how many classes the weight and the bias of a head have.

    Where there is none, those that every original has by default.
    """
    if not any(name in state for name in names):
        return 1000
    return vote(state, dict.fromkeys(names, 0), original)

"""A few numbers that describe an architecture of any family, as parameters for Optuna's plots."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch, Scalar
from vitnas.space import Choice, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST = 6


def summary(space: Space, arch: Arch) -> dict[str, Scalar]:
    """Return up to six summary values by name, for example::

        {"depth": 13, "embed_dim": 192, "total_num_heads": 44, "mean_mlp_ratio": 3.7}

    Depths are added up over stages, counts (`num_...`) over layers; other numbers are averaged.
    Genes that the space holds fixed are left out, as are texts that differ from layer to layer.
    """
    return {name: _reduce(choice, arch[choice.name]) for name, choice in _parameters(space)}


@lru_cache(maxsize=8)  # asked for every trial
def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the range of each summary value."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    ranges: dict[str, BaseDistribution] = {}
    for name, choice in _parameters(space):
        values = _flat(choice.values)
        low, high = min(values), max(values)
        if isinstance(low, str):
            ranges[name] = CategoricalDistribution(values)
        elif _adds_up(choice):
            ends = (_reduce(choice, arch[choice.name]) for arch in (space.smallest, space.largest))
            ranges[name] = IntDistribution(*ends)
        elif choice.level == "net" and all(isinstance(value, int) for value in values):
            ranges[name] = IntDistribution(low, high)
        else:
            ranges[name] = FloatDistribution(low, high)
    return ranges


@lru_cache(maxsize=8)  # asked for every trial
def _parameters(space: Space) -> tuple[tuple[str, Choice], ...]:
    return (*_named(space),)[:MOST]


def _named(space: Space) -> Iterator[tuple[str, Choice]]:
    for choice in sorted(space.choices, key=lambda c: (c.name != "depth", c.level != "net")):
        text = isinstance(_flat(choice.values)[0], str)
        if space.smallest[choice.name] == space.largest[choice.name]:
            continue
        if choice.name == "depth" or choice.level == "net":
            yield choice.name, choice
        elif not text:
            yield f"{'total' if _adds_up(choice) else 'mean'}_{choice.name}", choice


def _adds_up(choice: Choice) -> bool:
    return choice.name == "depth" or (choice.level == "block" and choice.name.startswith("num_"))


def _reduce(choice: Choice, value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    values = _flat(value)
    return sum(values) if _adds_up(choice) else sum(values) / len(values)


def _flat(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _flat(item)] if isinstance(value, tuple) else [value]

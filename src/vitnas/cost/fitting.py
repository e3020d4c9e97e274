"""Seconds of kinds of unit that were not measured, from those that were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vitnas.axes import parse
from vitnas.cost.exact import unit_macs
from vitnas.models import Kind
from vitnas.models import family as find_family


def fit(family: str, config: Any, seconds: Mapping[Kind, float]) -> Callable[[Kind], float]:
    """Return a function that estimates the seconds of any kind of a role that was measured.

    Role by role it is linear in the multiply-adds, the number of elements of each parameter, and
    all sizes and settings, by least squares.
    """
    import numpy as np

    def features(kind: Kind) -> Any:
        texts = find_family(family).layouts(config, kind.role, False).values()
        elements = [parse(text).numel(kind.size) for text in texts]
        macs = unit_macs(family, config, kind, "factorised")
        return np.array([1.0, macs, *elements, *kind.size.values(), *kind.setting.values()])

    roles: dict[str, list[Kind]] = {}
    for kind in seconds:
        roles.setdefault(kind.role, []).append(kind)
    weights = {}
    for role, kinds in roles.items():
        rows = np.array([features(kind) for kind in kinds])
        scale = np.maximum(np.abs(rows).max(axis=0), 1e-9)
        known = np.array([seconds[kind] for kind in kinds])
        weights[role] = np.linalg.lstsq(rows / scale, known, rcond=1e-9)[0] / scale
    return lambda kind: max(0.0, float(features(kind) @ weights[kind.role]))

"""S3's search of the search space: where each dimension of a space should move, and why.

Source: Searching the Search Space of Vision Transformer (NeurIPS 2021), whose search code was never
released. From the paper: the E-T error, the decomposition into dimensions, the straight line
through the errors of a dimension's values, and the shift by a step γ against its slope beyond a
threshold τ. What is our choice stands at `Options` and in docs/space-evolution.md.

Errors are in percent. A slope is in points of error per step γ.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitnas.arch import Arch, Scalar
from vitnas.errors import InputError, unknown
from vitnas.search.space_evolution_dimensions import (
    Dimension,
    dimensions,
    value_in,
    values_of,
    with_values_of,
)
from vitnas.search.space_evolution_round import Group, Move, Options, Quality, Round
from vitnas.space import Space

Errors: TypeAlias = npt.NDArray[np.float64]
Check: TypeAlias = Callable[[Space], object]
"""Raises InputError for a space with architectures that can't be built."""


def e_t(errors: Sequence[float] | Errors, options: Options) -> Quality:
    """Return the E-T error of the errors of some subnets, at least one."""
    found = np.asarray(errors, dtype=float)
    expected, top_tier = _e_t(found, options)
    error = (expected + top_tier) / 2
    return Quality(len(found), float(expected), float(top_tier), float(error))


def decide(
    space: Space,
    results: Sequence[tuple[Arch, float]],
    *,
    options: Options,
    number: int = 0,
    seed: int = 0,
    check: Check | None = None,
) -> Round:
    """Return where every dimension of a space moves, from subnets and their errors in percent.

    A subnet counts for a value if all blocks of the dimension take it. All slopes are taken before
    any list changes, and each dimension's resamples have a seed of their own, so the order of the
    dimensions does not matter. Shifted values for which `check` raises InputError are dropped.

    Raises:
        InputError: no results, an error that is no finite number, or options for dimensions that
            the space does not have or that don't fit their values.
    """
    found = dimensions(space)
    check_options(space, options)
    if not results or not all(math.isfinite(error) for _, error in results):
        raise InputError("space evolution needs subnets, each with an error that is a number")
    grouped = {dimension: _groups(space, dimension, results, options) for dimension in found}
    judged = sum(len(_usable(groups, options)) > 1 for groups in grouped.values())
    width = NormalDist().inv_cdf(1 - options.false_moves / (2 * max(judged, 1)))
    moves = tuple(
        _move(space, dimension, grouped[dimension], width, options, (seed, number), check)
        for dimension in found
    )
    lists = {move.dimension: move.new for move in moves if move.new != move.old}
    following = with_values_of(space, lists) if lists else space
    quality = e_t([error for _, error in results], options)
    return Round(number, space, quality, moves, following, options, seed)


def check_options(space: Space, options: Options) -> None:
    """Check that steps and limits are for dimensions of the space, and steps fit its values.

    Raises:
        InputError: they aren't.
    """
    found = dimensions(space)
    names = {name for one in found for name in (one.name, one.gene)}
    for option in ("steps", "minimum", "maximum", "multiple_of"):
        for name in getattr(options, option):
            if name not in names:
                raise unknown(f"dimension in {option}", name, names)
    for dimension in found:
        step, values = options.of("steps", dimension), values_of(space, dimension)
        whole = not dimension.gene.endswith("_ratio") and all(isinstance(v, int) for v in values)
        if step is not None and whole and step != int(step):
            raise InputError(f"the step of {dimension.name} is {step}; its values are whole")


def shifted(
    space: Space, dimension: Dimension, shift: int, options: Options, check: Check | None = None
) -> tuple[tuple[Scalar, ...], tuple[tuple[Scalar, str], ...]]:
    """Return a dimension's values moved by so many steps, up if positive, and those dropped, why.

    A value for which `check` raises InputError is dropped.

    Raises:
        InputError: the dimension has one value and no step is given.
    """
    old = values_of(space, dimension)
    step = _step(dimension, old, options)
    if step is None:
        raise InputError(f"{dimension.name} has one value; give it a step to move it")
    kept, dropped = [], []
    for value in old:
        new = _added(value, shift * step)
        fault = _fault(space, dimension, new, options, check)
        if fault:
            dropped.append((new, fault))
        else:
            kept.append(new)
    return tuple(kept), tuple(dropped)


_Found: TypeAlias = dict[Scalar, Errors]
"""Value → the errors of the subnets that take it, in the order of the draw."""


def _groups(
    space: Space, dimension: Dimension, results: Sequence[tuple[Arch, float]], options: Options
) -> _Found:
    taken = [(value_in(arch, dimension), error) for arch, error in results]
    return {
        value: np.array([error for other, error in taken if other == value], dtype=float)
        for value in sorted(values_of(space, dimension))
    }


def _usable(groups: _Found, options: Options) -> _Found:
    """Return the groups that are large enough, cut to equal sizes."""
    enough = {value: errors for value, errors in groups.items() if len(errors) >= options.fewest}
    size = min(map(len, enough.values()), default=0)
    return {value: errors[:size] for value, errors in enough.items()}


def _move(
    space: Space,
    dimension: Dimension,
    groups: _Found,
    width: float,
    options: Options,
    seed: tuple[int, int],
    check: Check | None,
) -> Move:
    old = values_of(space, dimension)
    used, step = _usable(groups, options), _step(dimension, old, options)
    told = tuple(
        Group(value, len(errors), e_t(used[value], options) if value in used else None)
        for value, errors in groups.items()
    )
    move = Move(dimension.gene, dimension.place, step, told, None, None, None, 0, "", old, old)
    if len(old) == 1 or step is None:
        return dataclasses.replace(move, why="one value has no slope: stays")
    if len(used) < 2:
        why = f"fewer than two values have {options.fewest} subnets: stays"
        return dataclasses.replace(move, why=why)
    steps = np.array([(float(value) - float(min(old))) / step for value in used])
    slope, stderr = _fit(steps, list(used.values()), options, (*seed, _hash(dimension)))
    noise = width * stderr
    shift, why = _shift(slope, noise, options)
    fitted = dataclasses.replace(
        move, slope=slope, stderr=stderr, noise=noise, shift=shift, why=why
    )
    return _shifted(space, fitted, options, check) if shift else fitted


def _step(dimension: Dimension, values: tuple[Any, ...], options: Options) -> float | None:
    given = options.of("steps", dimension)
    if given is not None or len(values) == 1:
        return given
    ordered = sorted(values)
    return float(min(b - a for a, b in pairwise(ordered)))


def _fit(
    steps: Errors, groups: Sequence[Errors], options: Options, seed: tuple[int, ...]
) -> tuple[float, float]:
    """Return the slope of E-T error on steps by least squares, and its bootstrap standard error.

    Groups are resampled from the deviations of all groups from their means: few subnets alone say
    too little about the tail that the top tier is taken from.
    """
    weights = (steps - steps.mean()) / ((steps - steps.mean()) ** 2).sum()
    size = len(groups[0])
    pooled = np.concatenate([group - group.mean() for group in groups]) * (size / (size - 1)) ** 0.5
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in groups:
        drawn = pooled[rng.integers(len(pooled), size=(options.resamples, size))]
        resampled.append(sum(_e_t(drawn, options)) / 2)
    errors = np.array([sum(_e_t(group, options)) / 2 for group in groups])
    slopes = weights @ np.stack(resampled)
    return float(weights @ errors), float(slopes.std(ddof=1))


def _e_t(errors: Errors, options: Options) -> tuple[Any, Any]:
    """Return expected and top-tier error along the last axis."""
    size = errors.shape[-1]
    top = max(1, min(options.top, round(options.top_share * size)))
    best = np.partition(errors, top - 1, axis=-1)[..., :top]
    return errors.mean(axis=-1), best.mean(axis=-1)


def _shift(slope: float, noise: float, options: Options) -> tuple[int, str]:
    """Return how many steps up the values move, and why."""
    told = f"error {'rises' if slope > 0 else 'falls'} by {abs(slope):.3g} points a step"
    if abs(slope) <= noise:
        return 0, f"{told}, within the noise of {noise:.3g}: stays"
    ratio = slope / options.threshold
    steps = math.floor(ratio) if options.rounding == "floor" else math.trunc(ratio)
    if not steps:
        return 0, f"{told}, within the threshold of {options.threshold:.3g}: stays"
    shift = max(-options.most_steps, min(options.most_steps, -steps))
    where = f"{abs(shift)} {'step' if abs(shift) == 1 else 'steps'} {'up' if shift > 0 else 'down'}"
    capped = f", of {abs(steps)} that the threshold gives" if abs(shift) < abs(steps) else ""
    beyond = f"the noise of {noise:.3g} and the threshold of {options.threshold:.3g}"
    return shift, f"{told}, beyond {beyond}: {where}{capped}"


def _shifted(space: Space, move: Move, options: Options, check: Check | None) -> Move:
    """Return the move with its new values: those shifted ones that can be."""
    kept, dropped = shifted(space, move.dimension, move.shift, options, check)
    if kept:
        return dataclasses.replace(move, new=kept, dropped=dropped)
    why = f"{move.why}; but no value would be left, so it stays"
    return dataclasses.replace(move, shift=0, why=why, dropped=dropped)


def _added(value: Any, amount: float) -> Scalar:
    if isinstance(value, int) and float(amount).is_integer():
        return value + int(amount)
    return float(round(value + amount, 9))


def _fault(
    space: Space, dimension: Dimension, value: Any, options: Options, check: Check | None
) -> str | None:
    """Return why a value can't be, None if it can."""
    low, high = options.of("minimum", dimension), options.of("maximum", dimension)
    multiple = options.of("multiple_of", dimension)
    if value <= 0:
        return "not positive"
    if low is not None and value < low:
        return f"below the minimum {low:g}"
    if high is not None and value > high:
        return f"above the maximum {high:g}"
    if multiple is not None and not math.isclose(value / multiple, round(value / multiple)):
        return f"no multiple of {multiple:g}"
    if check is not None and value not in values_of(space, dimension):
        try:
            check(with_values_of(space, {dimension: (value,)}))
        except InputError as error:
            return str(error)
    return None


def _hash(dimension: Dimension) -> int:
    return zlib.crc32(dimension.name.encode())

"""Sampling that is uniform in cost instead of in genes.

Uniform genes concentrate the cost around its middle (a binomial over many layers), so the cheapest
and dearest architectures are practically never drawn. Here the cost range is cut into strata of
equal width, a stratum is drawn uniformly, and the genes are drawn from a distribution that is
exponentially tilted so that its mean cost is the middle of that stratum.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from vitnas.arch import Arch, Scalar
from vitnas.errors import InputError
from vitnas.space import Choice, Position, Space

_STEEPEST = 16.0  # at this tilt all but 1e-7 of the mass is on the extreme value of two
_HALVINGS = 12
_PROBES = 32


def stratified(
    space: Space, cost: Callable[[Arch], float], strata: int = 10, *, attempts: int = 32
) -> Callable[[random.Random], Arch]:
    """Return a sampler that is uniform over `strata` equal intervals of cost.

    The intervals cut the range from the cost of `space.smallest` to that of `space.largest`. Each
    call draws an interval, then at most `attempts` architectures until one falls inside; if none
    does, the nearest wins. The result depends on the given generator alone.

    Raises:
        InputError: fewer than one stratum, or the largest architecture costs no more than the
            smallest.
    """
    low, high = cost(space.smallest), cost(space.largest)
    if strata < 1:
        raise InputError(f"strata is {strata}; it must be at least 1")
    if not high > low:
        raise InputError(
            f"the largest architecture costs {high:g}, the smallest {low:g}: "
            "stratified sampling needs a cost that grows with the genes"
        )
    width = (high - low) / strata
    middles = [low + (stratum + 0.5) * width for stratum in range(strata)]
    tilts = [_calibrate(space, cost, middle) for middle in middles]

    def draw(rng: random.Random) -> Arch:
        stratum = rng.randrange(strata)
        best, best_gap = None, math.inf
        for _ in range(attempts):
            arch = sample_tilted(space, tilts[stratum], rng)
            gap = abs(cost(arch) - middles[stratum])
            if gap < best_gap:
                best, best_gap = arch, gap
            if gap <= width / 2:
                break
        assert best is not None
        return best

    return draw


def sample_tilted(space: Space, tilt: float, rng: random.Random) -> Arch:
    """Draw an architecture whose genes favour large values (tilt > 0) or small ones (tilt < 0).

    A value of rank r among n has weight exp(tilt · r / (n - 1)); genes that are names are uniform.
    """

    def pick(choice: Choice, at: Position) -> Scalar:
        values: Sequence[Scalar] = choice.at(at)
        if len(values) == 1:
            return values[0]
        steepness = 0.0
        if _is_number(values[0]):
            steepness, values = tilt, sorted(choice.at(at))
        weights = [math.exp(steepness * rank / (len(values) - 1)) for rank in range(len(values))]
        return rng.choices(values, weights)[0]

    return space.build(pick)


def _calibrate(space: Space, cost: Callable[[Arch], float], target: float) -> float:
    """Return the tilt whose mean cost is `target`, by bisection over common random numbers."""

    def mean(tilt: float) -> float:
        rng = random.Random(0)
        return sum(cost(sample_tilted(space, tilt, rng)) for _ in range(_PROBES)) / _PROBES

    low, high = -_STEEPEST, _STEEPEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if mean(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _is_number(value: Scalar) -> bool:
    return not isinstance(value, str)

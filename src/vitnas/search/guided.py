"""Local moves in a search space, and two guided walks made of them.

Uniform draws almost never meet a narrow window of costs. A walk that changes a few genes at a time
and never goes back gets there in some hundred steps. All walks are bounded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from vitnas.arch import Arch, Scalar
from vitnas.space import Choice, Position, Space

ENUMERABLE = 10_000  # spaces up to this size are listed whole; a closed-form cost takes seconds
STARTS = 30
STEPS = 1000
PATIENCE = 300


def neighbours(space: Space, arch: Arch) -> Iterator[Arch]:
    """Yield every architecture that differs from `arch` in exactly one gene.

    Where that gene is a depth, surplus layers are cut from the end and a new layer repeats the
    last layer of its stage as far as the space allows. A tied gene changes in all its layers.
    """
    for choice, at in places(space, arch):
        for value in choice.at(at):
            if value != _gene(arch, choice, at):
                yield replaced(space, arch, choice, at, value)


def adjacent(space: Space, arch: Arch) -> Iterator[Arch]:
    """Yield the neighbours whose changed gene is a number and moves to the next one up or down."""
    for choice, at in places(space, arch):
        values = choice.at(at)
        if isinstance(values[0], str):
            continue
        ordered = sorted(values)
        index = ordered.index(_gene(arch, choice, at))
        for value in (*ordered[max(index - 1, 0) : index], *ordered[index + 1 : index + 2]):
            yield replaced(space, arch, choice, at, value)


def places(space: Space, arch: Arch) -> list[tuple[Choice, Position]]:
    """Return the choices that make up an architecture, with the position of each."""
    found: list[tuple[Choice, Position]] = []

    def remember(choice: Choice, at: Position) -> Scalar:
        found.append((choice, at))
        return _gene(arch, choice, at)

    space.build(remember)
    return found


def count_genes(space: Space, arch: Arch) -> int:
    """Return how many choices make up an architecture; genes of tied layers are one a stage."""
    return sum(
        (space.stages or 1) if choice.tied else _length(arch[choice.name])
        for choice in space.choices
    )


def replaced(space: Space, arch: Arch, choice: Choice, at: Position, value: Scalar) -> Arch:
    """Return the architecture with another value of one gene."""

    def pick(other: Choice, there: Position) -> Scalar:
        same = other.name == choice.name and there == at
        return value if same else _gene(arch, other, there)

    return space.build(pick)


def cheapest(space: Space, cost: Callable[[Arch], float], start: Arch) -> Arch:
    """Descend from `start` to an architecture that no change of one gene makes cheaper.

    This is the cheapest of the space if every gene moves the cost in one direction, whatever that
    direction is: params and MACs grow with most genes, but MACs fall with the patch size.
    """
    best, value = start, cost(start)
    while True:
        lower = min(neighbours(space, best), key=cost, default=best)
        if cost(lower) >= value:
            return best
        best, value = lower, cost(lower)


def extremes(space: Space, cost: Callable[[Arch], float]) -> tuple[Arch, Arch]:
    """Return the cheapest and the dearest architecture of a space, exact where `cheapest` is."""
    low = cheapest(space, cost, space.smallest)
    high = cheapest(space, lambda arch: -cost(arch), space.largest)
    return low, high


def ends(space: Space, cost: Callable[[Arch], float]) -> tuple[float, float]:
    """Return the least and the highest cost of a space, those of its `extremes`."""
    low, high = extremes(space, cost)
    return cost(low), cost(high)


def repair(
    space: Space, arch: Arch, violation: Callable[[Arch], float], rng: random.Random
) -> tuple[Arch, float]:
    """Walk from `arch` towards violation 0 and return where the walk ended, with its violation.

    Keeps every nudge that is no worse, for at most 1,000 steps, of which 300 may bring nothing. On
    AutoFormer's tiny space, windows within 0.5 % of the best trade of params against MACs were met
    by about every sixth walk.
    """
    value = violation(arch)
    improved = 0
    for step in range(STEPS):
        if value == 0 or step - improved > PATIENCE:
            break
        nudged = nudge(space, arch, rng)
        if nudged != arch and (found := violation(nudged)) <= value:
            improved = step if found < value else improved
            arch, value = nudged, found
    return arch, value


def nudge(space: Space, arch: Arch, rng: random.Random) -> Arch:
    """Redraw about three genes, whichever; the result may equal `arch`."""
    probability = min(0.5, 3 / count_genes(space, arch))
    return space.mutate(arch, rng, net_prob=probability, block_prob=probability)


def nearest(
    space: Space,
    violation: Callable[[Arch], float],
    rng: random.Random,
    starts: Iterable[Arch] = (),
) -> tuple[Arch, float]:
    """Return the architecture of least violation that some walks find, and its violation.

    They begin at the smallest and the largest architecture, at `starts`, and at 30 random ones. In
    a space of up to 10,000 architectures, which is listed, it is exact.
    """
    if space.size() <= ENUMERABLE:
        best = min(space, key=violation)
        return best, violation(best)
    best, value = space.smallest, violation(space.smallest)
    fixed = dict.fromkeys((space.smallest, space.largest, *starts))
    for start in (*fixed, *[space.sample(rng) for _ in range(STARTS)]):
        arch, found = repair(space, start, violation, rng)
        if found < value:
            best, value = arch, found
        if value == 0:
            break
    return best, value


def _gene(arch: Arch, choice: Choice, at: Position) -> Scalar:
    """Return the gene at a position, or of the last layer before it where `arch` is shallower."""
    value = arch[choice.name]
    for index in at:
        assert isinstance(value, tuple)
        value = value[min(index, len(value) - 1)]
    assert not isinstance(value, tuple)
    allowed = choice.at(at)
    return value if value in allowed else allowed[0]


def _length(value: object) -> int:
    return sum(map(_length, value)) if isinstance(value, tuple) else 1

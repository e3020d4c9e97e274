"""Which architectures a training step trains, as pure functions of (space, seed, step).

Every process and every resumed run draws the same ones, because nothing is remembered: the
generator of a step is seeded with a hash of (seed, step).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.space import Space
from vitnas.stratified import stratified as stratified_draw
from vitnas.train.bcnet import complement

if TYPE_CHECKING:
    from vitnas.train.recipe import Sampling

Sampler: TypeAlias = Callable[[int], tuple[Arch, ...]]
"""From a step's number, from 0, to the architectures that the step trains, in order."""


def derived_seed(*parts: int | str) -> int:
    """Return a 64-bit seed that is a hash of the parts, equal on every machine."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def uniform(space: Space, seed: int) -> Sampler:
    """Train one subnet a step, uniform in every gene (AutoFormer)."""
    return lambda step: (space.sample(_generator(seed, step)),)


def sandwich(space: Space, seed: int, random_subnets: int = 2) -> Sampler:
    """Train the largest, the smallest and some random subnets in every step.

    Source: the sandwich rule of universally slimmable networks (Yu and Huang, ICCV 2019). The
    largest comes first, so that it can teach the others.
    """

    def draw(step: int) -> tuple[Arch, ...]:
        rng = _generator(seed, step)
        others = (space.sample(rng) for _ in range(random_subnets))
        return (space.largest, space.smallest, *others)

    return draw


def bcnet(space: Space, seed: int, complementary: bool = True) -> Sampler:
    """Train one subnet a step, uniform in every gene, and in the next the one it lacks (BCNet).

    With a bilateral supernet such a pair trains every channel of an axis equally often, where the
    complement of each width is a choice; see `vitnas.train.bcnet.complement`. Without
    `complementary` each step draws anew.

    Raises:
        InputError: the space has no widths to choose.
    """
    complement(space, space.smallest)  # refuses a space without widths at once
    if not complementary:
        return uniform(space, seed)

    def draw(step: int) -> tuple[Arch, ...]:
        pair, second = divmod(step, 2)
        arch = space.sample(_generator(seed, pair))
        return (complement(space, arch) if second else arch,)

    return draw


def stratified(space: Space, seed: int, cost: Callable[[Arch], float], strata: int = 10) -> Sampler:
    """Train one subnet a step, uniform in cost instead of in genes (`vitnas.stratified`)."""
    draw = stratified_draw(space, cost, strata)
    return lambda step: (draw(_generator(seed, step)),)


def official(space: Space, steps_per_epoch: int) -> Sampler:
    """Replay the architectures that the original AutoFormer code trains, whatever the seed.

    It seeds the standard generator with the epoch's number and draws one subnet a step. Source:
    official `supernet_engine.py`. The genes must be in the order depth, mlp_ratio, num_heads,
    embed_dim, as in the official spaces.
    """

    @lru_cache(maxsize=1)
    def drawn(epoch: int) -> list[Arch]:
        rng = random.Random(epoch)
        return [space.sample(rng) for _ in range(steps_per_epoch)]

    def draw(step: int) -> tuple[Arch, ...]:
        epoch, batch = divmod(step, steps_per_epoch)
        return (drawn(epoch)[batch],)

    return draw


def fixed(arch: Arch) -> Sampler:
    """Train one architecture in every step, inside the supernet."""
    return lambda step: (arch,)


def make_sampler(
    sampling: Sampling,
    space: Space,
    seed: int,
    *,
    steps_per_epoch: int,
    cost: Callable[[Arch], float] | None = None,
) -> Sampler:
    """Return the sampler that a recipe names. `cost` is what `stratified` is uniform in.

    Raises:
        InputError: stratified sampling without a cost, or BCNet's without widths.
    """
    if sampling.name == "uniform":
        return uniform(space, seed)
    if sampling.name == "sandwich":
        return sandwich(space, seed, sampling.random_subnets)
    if sampling.name == "bcnet":
        return bcnet(space, seed, sampling.complementary)
    if sampling.name == "official":
        return official(space, steps_per_epoch)
    if cost is None:
        raise InputError("stratified sampling needs a cost function of an architecture")
    return stratified(space, seed, cost, sampling.strata)


def _generator(seed: int, step: int) -> random.Random:
    return random.Random(derived_seed("arch", seed, step))

"""A search space: the choices that make up an architecture.

It knows which architectures exist and how to draw, vary and count them; it knows no model. Every
gene has a level: `net` (one value), `stage` (one a stage) or `block` (one a layer). How many
layers there are is itself the gene `depth`, so a space has no genes of unused layers.
"""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, SupportsIndex, TypeAlias

from vitnas.arch import Arch, Scalar, check_arch
from vitnas.choice import Choice, Level
from vitnas.errors import InputError, check_type, unknown
from vitnas.genes import Position, lists, tuples, value_at

__all__ = ["Choice", "Level", "Pick", "Position", "Space"]

Pick: TypeAlias = "Callable[[Choice, Position], Scalar]"
DEEPEST = 1000  # layers or stages: spaces come from files, and more would fill the memory


@dataclass(frozen=True)
class Space:
    """All architectures of one family that a set of choices describes.

    The order of `choices` is the order in which `sample` draws them. `stages` is the number of
    stages of a hierarchical family; then `depth` has level `stage`.

    Raises:
        InputError: no depth, a gene named twice, or lists that don't fit the stages or layers.
    """

    family: str
    choices: tuple[Choice, ...]
    stages: int | None = None
    name: str = field(default="", compare=False)
    note: str = field(default="", compare=False)
    """Said with every refusal: what a user of this space should know."""

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if len(set(names)) < len(names):
            raise InputError(f"a space names each gene once, got {', '.join(names)}")
        if "depth" not in names:
            raise InputError("a space needs the choice depth")
        if self.stages is not None and not _few(self.stages):
            raise InputError(
                f"stages is {self.stages!r}; it must be a whole number from 1 to {DEEPEST}"
            )
        depth = self["depth"]
        if depth.level != ("stage" if self.stages else "net"):
            raise InputError("depth has level stage in a space with stages, else net")
        if not all(_few(d) for row in depth.rows for d in row):
            raise InputError(
                f"depth is {depth.values!r}; it must be whole numbers from 1 to {DEEPEST}"
            )
        places = self.stages or max(depth.at(()))
        for choice in self.choices:
            if choice.level == "stage" and not self.stages:
                raise InputError(f"choice {choice.name} has level stage, the space has no stages")
            if choice.varies and len(choice.values) != places:
                raise InputError(
                    f"choice {choice.name} has {len(choice.values)} lists, the space needs {places}"
                )
            if choice.tied and choice.varies and not self.stages:
                raise InputError(f"choice {choice.name} is tied: give one list for all layers")
            varied = self.stages or any(other.varies for other in self.choices)
            if choice.increasing and (varied or len(choice.values) < places):
                raise InputError(
                    f"choice {choice.name} increases from layer to layer: it needs at least "
                    f"{places} values, no stages, and choices with one list for all layers"
                )
        ordered = sorted(self.choices, key=lambda choice: choice.name != "depth")
        object.__setattr__(self, "choices", tuple(ordered))

    def __getitem__(self, name: str) -> Choice:
        for choice in self.choices:
            if choice.name == name:
                return choice
        raise KeyError(name)

    @property
    def largest(self) -> Arch:
        """The architecture with the largest value of every gene."""
        return self.build(lambda choice, at: max(choice.at(at)))

    @property
    def stored(self) -> Arch:
        """The largest architecture, with all values of increasing genes: a supernet stores it."""
        values = [len(choice.values) for choice in self.choices if choice.increasing]
        return self.with_values(depth=(min(values),)).largest if values else self.largest

    @property
    def smallest(self) -> Arch:
        """The architecture with the smallest value of every gene."""
        return self.build(lambda choice, at: min(choice.at(at)))

    def build(self, pick: Pick) -> Arch:
        """Make an architecture by asking `pick` for every gene that it has, in order.

        Of a tied gene it is asked for the first layer, or the first of each stage.
        """
        genes: dict[str, Any] = {}
        for choice in self.choices:
            shape = choice.shape(genes.get("depth"), self.stages)
            genes[choice.name] = choice.fill(shape, partial(pick, choice))
        return Arch(self.family, **genes)

    def size(self) -> int:
        """Return the exact number of distinct architectures."""
        total = math.prod(len(c.at(())) for c in self._at_level("net") if c.name != "depth")
        blocks = self._at_level("block")
        for stage in range(self.stages or 1):
            prefix = (stage,) if self.stages else ()
            total *= math.prod(
                len(c.at(prefix)) for c in self._at_level("stage") if c.name != "depth"
            )
            total *= sum(
                math.prod(c.ways(prefix, depth) for c in blocks)
                for depth in self["depth"].at(prefix)
            )
        return total

    def __iter__(self) -> Iterator[Arch]:
        """Yield every architecture once. Check `size` first: most spaces are astronomic."""
        yield from self._extend({}, self.choices)

    def sample(self, seed: SupportsIndex | random.Random) -> Arch:
        """Draw an architecture, uniform in every gene, as AutoFormer's training does.

        Of an increasing gene all sets of values of that depth are equally probable.
        A seed gives the same architecture everywhere; a `random.Random` is advanced. Genes with a
        single value draw nothing. With the genes in the order depth, mlp_ratio, num_heads,
        embed_dim this consumes the generator exactly as the official sampler does.
        """
        rng = seed if isinstance(seed, random.Random) else random.Random(_seed(seed))
        taken: set[tuple[str, Scalar]] = set()

        def pick(choice: Choice, at: Position) -> Scalar:
            if not choice.increasing:
                return _draw(rng, choice, at)
            free = [value for value in choice.at(at) if (choice.name, value) not in taken]
            value: Scalar = rng.choice(free)
            taken.add((choice.name, value))
            return value

        return self.build(pick)

    def tied(self) -> Iterator[Arch]:
        """Yield architectures of full depth whose layers are all equal.

        Together they contain every size that a single layer can have, in every net. With stages,
        a gene of a stage alternates between two values from stage to stage, so that they contain
        every size of what lies between two stages, too. Of an increasing gene they have values next
        to each other, all of them together.
        """
        others = [choice for choice in self.choices if choice.name != "depth"]
        places = [
            (choice.name, parity)
            for choice in others
            for parity in ((0, 1) if choice.level == "stage" and self.stages != 1 else (0,))
        ]
        widest = {choice.name: range(_widest(choice)) for choice in others}
        for choice in others:
            if choice.increasing:
                widest[choice.name] = range(0, len(choice.values), max(self["depth"].at(())))
        for combination in itertools.product(*(widest[name] for name, _ in places)):
            index = dict(zip(places, combination, strict=True))
            yield self.build(partial(_tied_pick, index))

    def mutate(
        self, arch: Arch, rng: random.Random, *, net_prob: float = 0.4, block_prob: float = 0.2
    ) -> Arch:
        """Return a mutant: each gene redrawn with its level's probability.

        Genes of level net and stage (depth among them) and tied genes use `net_prob`, other genes
        of level block use `block_prob`. A new layer's genes are random; surplus layers are cut from
        the end. A redraw may give the old value. Source: official AutoFormer `evolution.py`, whose
        s_prob is `net_prob` and m_prob `block_prob`; the paper swaps the two roles.
        """

        def pick(choice: Choice, at: Position) -> Scalar:
            old = _gene(arch, choice.name, at)
            if old not in choice.at(at):
                return _draw(rng, choice, at)
            single = choice.level != "block" or choice.tied
            probability = net_prob if single else block_prob
            redraw = len(choice.at(at)) > 1 and rng.random() < probability
            return _draw(rng, choice, at) if redraw else old

        return self.build(pick)

    def crossover(self, first: Arch, second: Arch, rng: random.Random) -> Arch:
        """Return a child: each gene from either parent, also for parents of unequal depth.

        A layer that only one parent has takes that parent's genes. Official AutoFormer crosses
        only parents of equal depth; for those the two agree.
        """

        def pick(choice: Choice, at: Position) -> Scalar:
            genes = [_gene(parent, choice.name, at) for parent in (first, second)]
            known = [gene for gene in genes if gene in choice.at(at)]
            return rng.choice(known) if known else _draw(rng, choice, at)

        return self.build(pick)

    def validate(self, arch: Arch) -> None:
        """Check that an architecture is one of this space.

        Raises:
            InputError: it isn't; the message lists every offending gene.
        """
        check_arch(arch)
        faults = list(self._faults(arch))
        if faults:
            where = f" space {self.name}" if self.name else " space"
            note = f" ({self.note})" if self.note else ""
            raise InputError(f"not in the{where}: {'; '.join(faults)}{note}")

    def __contains__(self, arch: object) -> bool:
        return isinstance(arch, Arch) and next(self._faults(arch), None) is None

    def with_values(self, **values: Any) -> Space:
        """Return the space with the values of some of its choices replaced.

        Raises:
            InputError: the space has no such choice, or the values don't fit.
        """
        for name in values:
            if name not in {choice.name for choice in self.choices}:
                raise InputError(f"the space has no choice {name}")
        choices = tuple(
            replace(choice, values=tuples(values[choice.name])) if choice.name in values else choice
            for choice in self.choices
        )
        return replace(self, choices=choices, name="", note="")

    def with_tied(self, *genes: str) -> Space:
        """Return the architectures whose layers are all equal in some genes, by default in all.

        Increasing genes can't be equal, and stay as they are.
        With stages, the layers of a stage are equal; stages may differ, as their widths do anyway.
        Depth stays free. Where each layer has a list of its own, values that all lists have remain.
        Source: the cell-shared, "block-level" search of ViTAS (arXiv 2106.13700).

        Raises:
            InputError: a gene that the space doesn't choose layer by layer, or whose layers have
                no value in common.
        """
        blocks = [choice.name for choice in self._at_level("block") if not choice.increasing]
        for gene in genes:
            if gene not in blocks:
                raise unknown("gene of the layers", gene, blocks)
        choices = tuple(
            self._tie(choice) if choice.name in (genes or blocks) else choice
            for choice in self.choices
        )
        return replace(self, choices=choices, name=f"{self.name}-tied" if self.name else "")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return {
            "family": self.family,
            "name": self.name,
            "stages": self.stages,
            "choices": [
                {"name": c.name, "level": c.level, "values": lists(c.values)}
                | {flag: True for flag in ("tied", "increasing") if getattr(c, flag)}
                for c in self.choices
            ],
        }

    @classmethod
    def from_dict(cls, record: Any) -> Space:
        """Read what `to_dict` wrote.

        Raises:
            InputError: the record is not a space.
        """
        try:
            choices = tuple(
                Choice(
                    *(c["name"], tuples(c["values"]), c["level"]),
                    *(c.get(flag, False) for flag in ("tied", "increasing")),
                )
                for c in record["choices"]
            )
            if not isinstance(record["family"], str) or not isinstance(record["name"], str):
                raise InputError("not a search space record: family and name must be text")
            return cls(record["family"], choices, record["stages"], record["name"])
        except (KeyError, TypeError) as error:
            raise InputError(f"not a search space record: {error!r}") from error

    def _at_level(self, level: Level) -> list[Choice]:
        return [choice for choice in self.choices if choice.level == level]

    def _tie(self, choice: Choice) -> Choice:
        if not choice.varies or self.stages:
            return replace(choice, tied=True)
        first, *others = choice.rows
        common = tuple(v for v in first if all(v in other for other in others))
        if not common:
            raise InputError(f"{choice.name} can't be tied: its layers have no value in common")
        return replace(choice, values=common, tied=True)

    def _extend(self, genes: dict[str, Any], rest: tuple[Choice, ...]) -> Iterator[Arch]:
        if not rest:
            yield Arch(self.family, **genes)
            return
        choice, *later = rest
        shape = choice.shape(genes.get("depth"), self.stages)
        for gene in choice.every(shape):
            yield from self._extend({**genes, choice.name: gene}, tuple(later))

    def _faults(self, arch: Arch) -> Iterator[str]:
        if arch.family != self.family:
            yield f"family is {arch.family}, the space is of family {self.family}"
            return
        known = {choice.name for choice in self.choices}
        yield from (f"{name} is no gene of the space" for name in arch if name not in known)
        yield from (f"{c.name} is missing" for c in self.choices if c.name not in arch)
        for choice in self.choices:
            if choice.name in arch:
                yield from choice.faults(arch[choice.name], arch.get("depth"), self.stages)


def check_space(space: object) -> None:
    """Refuse what is no `Space`, such as a name.

    Raises:
        InputError: it is none.
    """
    hint = "vitnas.space(NAME) has a preset or a YAML file's"
    check_type("a search space", space, Space, hint)


def _few(value: Any) -> bool:
    return type(value) is int and 1 <= value <= DEEPEST


def _widest(choice: Choice) -> int:
    return max(map(len, choice.rows))


def _tied_pick(index: dict[tuple[str, int], int], choice: Choice, at: Position) -> Scalar:
    values = choice.at(at)
    if choice.name == "depth":
        place = values.index(max(values))
    elif choice.increasing:
        place = index[choice.name, 0] + at[0]
    else:
        place = index[choice.name, at[0] % 2 if choice.level == "stage" else 0]
    value: Scalar = values[min(place, len(values) - 1)]
    return value


def _seed(seed: Any) -> int:
    try:
        return operator.index(seed)
    except TypeError as error:
        raise InputError(f"seed is {seed!r}; it must be a whole number") from error


def _draw(rng: random.Random, choice: Choice, at: Position) -> Scalar:
    values: Sequence[Scalar] = choice.at(at)
    return rng.choice(values) if len(values) > 1 else values[0]


def _gene(arch: Arch, name: str, at: Position) -> Any:
    """Return a gene at a position, or None where the architecture does not reach so far."""
    return value_at(arch.get(name), at)

"""What a round of space evolution is told and what it leaves behind: constants and records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vitnas.arch import Scalar
from vitnas.errors import InputError, check_fields
from vitnas.search.space_evolution_dimensions import Dimension
from vitnas.space import Space

PAPER_STEPS = {"depth": 1, "embed_dim": 64, "window_size": 7, "num_heads": 2, "mlp_ratio": 0.5}
"""The steps γ as remembered from the paper (no public source to check them against)."""


@dataclass(frozen=True)
class Options:
    """The constants of a round of space evolution.

    Limits and steps go by gene (`depth`) or by dimension (`depth.3`, the third stage).

    Raises:
        InputError: listing every value out of range.
    """

    threshold: float = 0.4
    """τ, points of error per step. From the paper, as remembered."""
    steps: Mapping[str, float] = field(default_factory=dict)
    """γ. From the paper is that there is one a gene (`PAPER_STEPS`). Our choice: without one, the
    smallest distance of two values in the list, which suits spaces of any size."""
    rounding: Literal["trunc", "floor"] = "trunc"
    """Of slope / τ. Our choice: toward zero, so that growing needs as much evidence as shrinking.
    `floor` reads the paper's brackets literally; then any negative slope grows the values."""
    most_steps: int = 2
    """At most so many steps in a round. Our choice: early supernets have exaggerated slopes."""
    top: int = 50
    """The top tier has at most so many subnets. From the paper."""
    top_share: float = 0.15
    """The top tier's share of a group. Our choice: 50 of 333, a third of 1,000 subnets."""
    fewest: int = 8
    """A value that fewer subnets take is not judged. Our choice."""
    false_moves: float = 0.05
    """How likely noise alone moves anything in a round; sets the dead zone. Our choice. On pure
    noise 6 to 9 % of rounds moved for the default of 5 % (400 seeds, 100 to 1,000 subnets)."""
    resamples: int = 1000
    """Bootstrap resamples, from which the slopes' standard errors are taken. Our choice."""
    minimum: Mapping[str, float] = field(default_factory=dict)
    """Values below are dropped. That values of 0 and less are dropped is from the paper."""
    maximum: Mapping[str, float] = field(default_factory=dict)
    """Values above are dropped. Our choice, as is the next."""
    multiple_of: Mapping[str, float] = field(default_factory=dict)
    """Values that are no multiple are dropped."""

    def __post_init__(self) -> None:
        check_fields(
            self,
            "space evolution: ",
            threshold=(self.threshold > 0, "above 0"),
            steps=(all(step > 0 for step in self.steps.values()), "above 0 each"),
            rounding=(self.rounding in ("trunc", "floor"), "trunc or floor"),
            most_steps=(self.most_steps >= 1, "1 or more"),
            top=(self.top >= 1, "1 or more"),
            top_share=(0 < self.top_share <= 1, "above 0 and at most 1"),
            fewest=(self.fewest >= 2, "2 or more"),
            false_moves=(0 < self.false_moves < 1, "above 0 and below 1"),
            resamples=(self.resamples >= 100, "100 or more"),
            multiple_of=(all(n > 0 for n in self.multiple_of.values()), "above 0 each"),
        )

    def of(self, option: str, dimension: Dimension) -> float | None:
        """Return the step or limit of a dimension, None where there is none."""
        given: Mapping[str, float] = getattr(self, option)
        return given.get(dimension.name, given.get(dimension.gene))


@dataclass(frozen=True)
class Quality:
    """The E-T error of some subnets, in percent: the mean of expected and top-tier error."""

    subnets: int
    expected: float
    top_tier: float
    error: float


@dataclass(frozen=True)
class Group:
    """The subspace of one value: how many subnets take it, and the E-T error of those counted.

    In a dimension the same number is counted for every value, the first of the draw, because the
    mean of the best few depends on how many they are taken from. None: too few take the value.
    """

    value: Scalar
    members: int
    quality: Quality | None


@dataclass(frozen=True)
class Move:
    """What a round found out about a dimension, and what became of its values.

    `slope` and `stderr` are in points per step, None where no line could be fitted. The dimension
    stays where `noise`, the half width of the dead zone, is not below |slope|. `shift` is in steps,
    up if positive. `dropped` has the shifted values that can't be, and why.
    """

    gene: str
    place: int | None
    step: float | None
    groups: tuple[Group, ...]
    slope: float | None
    stderr: float | None
    noise: float | None
    shift: int
    why: str
    old: tuple[Scalar, ...]
    new: tuple[Scalar, ...]
    dropped: tuple[tuple[Scalar, str], ...] = ()

    @property
    def dimension(self) -> Dimension:
        """The dimension that this is about."""
        return Dimension(self.gene, self.place)


@dataclass(frozen=True)
class Round:
    """A round of space evolution, whole: the decision can be read, and made, again from it.

    `next` is the space to which the moves lead, or `space` again where `refused` says why not.
    """

    number: int
    space: Space
    quality: Quality
    moves: tuple[Move, ...]
    next: Space
    options: Options
    seed: int
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        record |= {"space": self.space.to_dict(), "next": self.next.to_dict()}
        record |= {"quality": dataclasses.asdict(self.quality)}
        record |= {"options": _plain(dataclasses.asdict(self.options))}
        record["moves"] = [_plain(dataclasses.asdict(move)) for move in self.moves]
        return record

    @classmethod
    def from_dict(cls, record: Any) -> Round:
        """Read what `to_dict` wrote, also after a round trip through JSON.

        Raises:
            InputError: the record is not a round.
        """
        try:
            parts = {
                "space": Space.from_dict(record["space"]),
                "next": Space.from_dict(record["next"]),
                "quality": Quality(**record["quality"]),
                "options": Options(**record["options"]),
                "moves": tuple(map(_read_move, record["moves"])),
            }
            return cls(**{**record, **parts})
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a record of space evolution: {error!r}") from error


def _read_move(record: Mapping[str, Any]) -> Move:
    groups = tuple(
        Group(one["value"], one["members"], Quality(**one["quality"]) if one["quality"] else None)
        for one in record["groups"]
    )
    lists = {name: tuple(record[name]) for name in ("old", "new")}
    dropped = tuple((value, why) for value, why in record["dropped"])
    return Move(**{**record, **lists, "groups": groups, "dropped": dropped})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value

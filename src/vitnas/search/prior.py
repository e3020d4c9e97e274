"""BCNet's prior initial population: a search starts where training found low losses.

Every training step tells the loss of the architectures that it trained. Of the records with the
lowest losses, E of a gene's value is the mean loss of those that take it. A distribution of every
gene, a softmax of free logits, is fitted by gradient descent: low E, and an expected cost inside
the window of the search. The first generation is drawn from it.

Source: BCNet (arXiv 2105.10533) and its authors' code. What is different here:

- A value that no record takes has the largest loss of the records. There it has 1e-4, next to
  nothing, though the comment beside asks for a large error.
- Losses count in units of their standard deviation, and add up over the genes. There the mean over
  the layers of plain losses counts, of which 2,000 steps at a rate of 0.01 move a logit by at most
  5 / layers times a difference of losses: next to nothing as well.
- The expected cost is that of architectures drawn, for any cost and any genes, linear between two
  updates. There it is a product of neighbouring widths, aimed at 0.4 times the budget.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vitnas.arch import Arch, Scalar
from vitnas.errors import InputError
from vitnas.search.guided import places, replaced
from vitnas.search.limits import Window
from vitnas.space import Choice, Position, Space

Gene: TypeAlias = tuple[str, Position]
Rows: TypeAlias = dict[Gene, list[float]]
"""One number for each value of each gene, in the order of its choice."""

KEPT = 100
STEPS, RATE, PENALTY = 2000, 0.01, 1000.0
UPDATE = 200  # steps for which the expected cost is taken as linear
BASES, DRAWS = 8, 64
AIM = 0.9  # of a budget without a minimum; BCNet accepts 0.8 to 1


@dataclass(frozen=True)
class Prior:
    """A distribution of every gene of a space, independent of the others."""

    space: Space
    probabilities: Rows

    def sample(self, rng: random.Random) -> Arch:
        """Draw an architecture."""

        def pick(choice: Choice, at: Position) -> Scalar:
            weights = self.probabilities[choice.name, at]
            found: Scalar = rng.choices(choice.at(at), weights)[0]
            return found

        return self.space.build(pick)

    def to_dict(self) -> dict[str, list[float]]:
        """Return a JSON-able record, such as `{"embed_dim": [0.2, 0.8], "num_heads[0]": ...}`."""
        return {_name(gene): row for gene, row in self.probabilities.items()}

    @classmethod
    def from_dict(cls, space: Space, record: Mapping[str, Sequence[float]]) -> Prior:
        """Read what `to_dict` wrote.

        Raises:
            InputError: it is not a distribution of the genes of this space.
        """
        genes = {(choice.name, at): choice.at(at) for choice, at in places(space, space.largest)}
        if set(record) != set(map(_name, genes)):
            differ = ", ".join(sorted(set(record) ^ set(map(_name, genes)))[:5])
            raise InputError(f"the prior is of other genes than the space: {differ}")
        rows = {gene: [float(p) for p in record[_name(gene)]] for gene in genes}
        for gene, row in rows.items():
            fits = len(row) == len(genes[gene]) and min(row) >= 0 and abs(sum(row) - 1) < 0.01
            if not fits:
                raise InputError(
                    f"the prior of {_name(gene)} is {row}; it needs {len(genes[gene])} "
                    "probabilities that add up to 1"
                )
        return cls(space, rows)


def fit(
    space: Space,
    records: Iterable[tuple[Arch, float]],
    window: Window,
    *,
    seed: int = 0,
    kept: int = KEPT,
) -> Prior:
    """Return the prior that training records and the limits of a search lead to.

    `records` are architectures with the loss that training had on them; they may be of a larger
    space. The same arguments give the same prior.

    Raises:
        InputError: there are no records.
    """
    lowest = sorted(records, key=lambda record: record[1])[:kept]
    if not lowest:
        raise InputError("a prior needs the losses of a training; there are none")
    spread = statistics.pstdev(loss for _, loss in lowest) or 1.0
    errors = {
        gene: [error / spread for error in row] for gene, row in mean_losses(space, lowest).items()
    }
    logits = {gene: [0.0] * len(row) for gene, row in errors.items()}
    rng, lines = random.Random(seed), list[_Line]()
    for step in range(STEPS):
        found = {gene: _softmax(row) for gene, row in logits.items()}
        if step % UPDATE == 0:
            lines = list(_lines(Prior(space, found), window, rng))
        pulls = [(line, line.pull(found)) for line in lines]
        for gene, row in found.items():
            slope = list(errors[gene])
            for line, pull in pulls:
                slope = [s + pull * e for s, e in zip(slope, line.effects[gene], strict=True)]
            mean = math.fsum(p * s for p, s in zip(row, slope, strict=True))
            for index, (p, s) in enumerate(zip(row, slope, strict=True)):
                logits[gene][index] -= RATE * p * (s - mean)
    return Prior(space, {gene: _rounded(_softmax(row)) for gene, row in logits.items()})


def mean_losses(space: Space, records: Sequence[tuple[Arch, float]]) -> Rows:
    """Return E: for each value of each gene the mean loss of the records that take it.

    Of a gene of tied layers, each layer of a record counts. A value without a record has the
    largest loss of all records.
    """
    worst = max(loss for _, loss in records)
    found: Rows = {}
    for choice, at in places(space, space.largest):
        taken: dict[Scalar, list[float]] = {value: [] for value in choice.at(at)}
        for arch, loss in records:
            for value in _taken(choice, at, arch):
                if value in taken:
                    taken[value].append(loss)
        means = [math.fsum(losses) / len(losses) if losses else worst for losses in taken.values()]
        found[choice.name, at] = means
    return found


@dataclass(frozen=True)
class _Line:
    """An expected cost, linear around some probabilities, and the value that it should have."""

    mean: float
    around: Rows
    effects: Rows  # by how much the cost rises where a gene takes a value
    target: float

    def pull(self, found: Rows) -> float:
        """Return the derivative of the penalty by the expected cost."""
        expected = self.mean + math.fsum(
            (p - q) * effect
            for gene, effects in self.effects.items()
            for p, q, effect in zip(found[gene], self.around[gene], effects, strict=True)
        )
        return -2 * PENALTY * (1 - expected / self.target) / self.target


def _lines(prior: Prior, window: Window, rng: random.Random) -> Iterator[_Line]:
    """Yield the expected costs that the window bounds from above, around a distribution."""
    for limit in window.limits:
        if limit.maximum is None:
            continue
        cost, low = window.costs[limit.metric], limit.minimum
        target = AIM * limit.maximum if low is None else (low + limit.maximum) / 2
        mean = statistics.fmean(cost(prior.sample(rng)) for _ in range(DRAWS))
        yield _Line(mean, prior.probabilities, _effects(prior, cost, rng), target)


def _effects(prior: Prior, cost: Callable[[Arch], float], rng: random.Random) -> Rows:
    """Return by how much each value of each gene raises the cost of architectures drawn."""
    space = prior.space
    effects = {gene: [0.0] * len(row) for gene, row in prior.probabilities.items()}
    for _ in range(BASES):
        base = prior.sample(rng)
        before = cost(base)
        for choice, at in places(space, base):
            values = choice.at(at)
            for index, value in enumerate(values if len(values) > 1 else ()):
                change = cost(replaced(space, base, choice, at, value)) - before
                effects[choice.name, at][index] += change / BASES
    return effects


def _taken(choice: Choice, at: Position, arch: Arch) -> Iterator[Scalar]:
    """Yield the value of a gene, of every layer if they are tied; nothing beyond the depth."""
    value: Any = arch[choice.name]
    for index in at[:-1] if choice.tied else at:
        if index >= len(value):
            return
        value = value[index]
    yield from value if choice.tied else (value,)


def _softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _rounded(row: Sequence[float]) -> list[float]:
    return [round(p, 6) for p in row]


def _name(gene: Gene) -> str:
    name, at = gene
    return name + "".join(f"[{index}]" for index in at)

"""BCNet's prior: mean losses by hand, and what a fitted distribution prefers."""

from __future__ import annotations

import json
import random
import statistics
from collections import Counter
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search import evolution, nsga2
from vitnas.search.limits import Limit, Window
from vitnas.search.prior import Prior, fit, mean_losses
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, cost

SPACE = Space(
    "toy", (Choice("depth", (1, 2)), Choice("width", (8, 16, 32)), Choice("heads", (1, 2), "block"))
)
FREE = Window((), {"cost": cost})
LIMITED = Window((Limit("cost", 1500, 3000),), {"cost": cost})


def _arch(width: int, *heads: int) -> Arch:
    return Arch("toy", depth=len(heads), width=width, heads=heads)


def _losses(count: int = 400, seed: int = 0) -> list[tuple[Arch, float]]:
    """Return records in which narrow nets and two heads in the first layer have low losses."""
    rng = random.Random(seed)
    archs = [SMALL.sample(rng) for _ in range(count)]
    return [(arch, arch.embed_dim / 16 - arch.num_heads[0] + rng.gauss(3, 0.3)) for arch in archs]


def test_a_mean_loss_is_that_of_the_records_that_take_the_value() -> None:
    records = [(_arch(8, 1), 1.0), (_arch(8, 2, 1), 2.0), (_arch(16, 2, 1), 4.0)]
    assert mean_losses(SPACE, records) == {
        ("depth", ()): [1.0, 3.0],
        ("width", ()): [1.5, 4.0, 4.0],  # the last has no record: the largest loss of all
        ("heads", (0,)): [1.0, 3.0],
        ("heads", (1,)): [3.0, 4.0],
    }


def test_of_tied_layers_each_counts() -> None:
    records = [(_arch(8, 1), 1.0), (_arch(8, 2, 1), 4.0)]
    assert mean_losses(SPACE.with_tied(), records)["heads", (0,)] == [2.5, 4.0]
    staged = Space(
        "toy", (Choice("depth", (1, 2), "stage"), Choice("heads", (1, 2), "block")), stages=2
    )
    arch = Arch("toy", depth=(2, 1), heads=((1, 2), (2,)))
    found = mean_losses(staged.with_tied(), [(arch, 1.0), (staged.smallest, 3.0)])
    assert found["heads", (0, 0)] == [2.0, 1.0]
    assert found["heads", (1, 0)] == [3.0, 1.0]


def test_a_fitted_prior_prefers_what_trained_to_low_losses() -> None:
    found = fit(SMALL, _losses(), FREE).probabilities
    assert found["embed_dim", ()][0] > 0.75
    assert found["num_heads", (0,)][1] > 0.75
    assert all(abs(sum(row) - 1) < 1e-4 for row in found.values())
    others = [found["mlp_ratio", (layer,)][0] for layer in range(6)]
    assert statistics.fmean(others) == pytest.approx(0.5, abs=0.15)


def test_a_value_without_a_record_is_the_least_likely() -> None:
    records = [(arch, loss) for arch, loss in _losses() if arch.depth != 5]
    row = fit(SMALL, records, FREE).probabilities["depth", ()]
    assert row.index(min(row)) == 2


def test_the_expected_cost_lies_in_the_window() -> None:
    for low, high in ((2000, 2600), (6000, 7000)):
        window = Window((Limit("cost", low, high),), {"cost": cost})
        prior = fit(SMALL, _losses(), window)
        rng = random.Random(0)
        assert low < statistics.fmean(cost(prior.sample(rng)) for _ in range(400)) < high
    budget = Window((Limit("cost", maximum=3000),), {"cost": cost})
    prior = fit(SMALL, _losses(), budget)
    rng = random.Random(0)
    mean = statistics.fmean(cost(prior.sample(rng)) for _ in range(400))
    assert mean == pytest.approx(2700, rel=0.1)


def test_it_is_reproducible_and_draws_as_it_says() -> None:
    prior = fit(SMALL, _losses(), LIMITED)
    assert fit(SMALL, _losses(), LIMITED) == prior
    stored = json.loads(json.dumps(prior.to_dict()))
    assert Prior.from_dict(SMALL, stored) == prior
    rng = random.Random(0)
    drawn = Counter(prior.sample(rng).depth for _ in range(4000))
    for value, share in zip((3, 4, 5, 6), prior.probabilities["depth", ()], strict=True):
        assert drawn[value] / 4000 == pytest.approx(share, abs=0.03)


def test_without_records_there_is_no_prior() -> None:
    with pytest.raises(InputError, match="a prior needs the losses of a training; there are none"):
        fit(SMALL, [], FREE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": [0.5, 0.5]}, "the prior is of other genes than the space: width"),
        ({"embed_dim": [1.0]}, r"the prior of embed_dim is \[1.0\]; it needs 2 probabilities"),
        ({"embed_dim": [0.7, 0.7]}, "needs 2 probabilities that add up to 1"),
        ({"embed_dim": [1.5, -0.5]}, "needs 2 probabilities that add up to 1"),
    ],
)
def test_a_prior_of_another_space_is_refused(change: dict[str, Any], message: str) -> None:
    record = {**fit(SMALL, _losses(50), FREE).to_dict(), **change}
    with pytest.raises(InputError, match=message):
        Prior.from_dict(SMALL, record)


@pytest.mark.parametrize("strategy", [evolution, nsga2])
def test_a_first_generation_is_drawn_from_the_prior(strategy: Any) -> None:
    def first(**options: Any) -> list[Arch]:
        found = strategy.make(SMALL, LIMITED, 0, population=40, **options)
        archs = [found.ask() for _ in range(40)]
        assert all(found.lineage(arch).generation == 0 for arch in archs)
        assert {found.lineage(a).origin for a in archs} == {options.get("initial", "random")}
        return archs

    options: dict[str, Any] = {"minimize": ("cost",)} if strategy is nsga2 else {"mutants": 15}
    options |= {"crossovers": 15} if strategy is evolution else {}
    prior = fit(SMALL, _losses(), LIMITED).to_dict()
    drawn = first(initial="prior", prior=prior, **options)
    assert all(map(LIMITED, drawn))
    two = [sum(arch.num_heads[0] == 2 for arch in archs) for archs in (drawn, first(**options))]
    assert two[0] > two[1] + 5
    for wrong in ({"initial": "prior"}, {"prior": prior}):
        with pytest.raises(InputError, match=r"initial is .* and a prior is .*: give both or none"):
            first(**options, **wrong)

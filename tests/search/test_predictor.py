from __future__ import annotations

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.ledger import Record, State
from vitnas.search.predictor import LEARNED, LEAST, Proxy, agreement, features, learned
from vitnas.search.ranking import spearman
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, score

MIXED = Space(
    "toy",
    (
        Choice("depth", (1, 2)),
        Choice("norm", ("pre", "post")),
        Choice("width", (8,)),
        Choice("heads", (1, 2), "block"),
    ),
)


def test_features_are_genes_texts_and_sums() -> None:
    describe = features(MIXED)
    deep = Arch("toy", depth=2, norm="post", width=8, heads=(1, 2))
    flat = Arch("toy", depth=1, norm="pre", width=8, heads=(2,))
    # depth, norm is pre, norm is post, heads of both layers, all heads
    assert describe(deep) == [2, 0, 1, 1, 2, 3]
    assert describe(flat) == [1, 1, 0, 2, 0, 2]


def test_features_tell_all_architectures_apart() -> None:
    for space in (MIXED, SMALL, SMALL.with_tied()):
        describe = features(space)
        rows = {tuple(describe(arch)) for arch in space}
        assert len(rows) == space.size()
        assert len(set(map(len, rows))) == 1


@pytest.mark.parametrize("name", LEARNED)
def test_it_orders_what_it_has_not_seen(name: str) -> None:
    archs = list(dict.fromkeys(SMALL.sample(seed) for seed in range(320)))
    seen, unseen = archs[:150], archs[150:]
    predictor = learned(name, SMALL)
    assert predictor.fit(seen, list(map(score, seen)))
    found = spearman(predictor.predict(unseen), list(map(score, unseen)))
    assert found > 0.8
    again = learned(name, SMALL)
    again.fit(seen, list(map(score, seen)))
    assert again.predict(unseen) == predictor.predict(unseen)


@pytest.mark.parametrize("name", LEARNED)
def test_few_or_equal_scores_teach_nothing(name: str) -> None:
    archs = [SMALL.sample(seed) for seed in range(LEAST)]
    predictor = learned(name, SMALL)
    assert not predictor.fit(archs[1:], list(map(score, archs[1:])))
    assert not predictor.fit(archs, [1.0] * LEAST)
    assert predictor.fit(archs, list(map(score, archs)))


def test_a_proxy_is_computed_once() -> None:
    called: list[Arch] = []

    def count(arch: Arch) -> float:
        called.append(arch)
        return float(arch.depth)

    proxy = Proxy("depth", count)
    first, second = SMALL.smallest, SMALL.largest
    assert proxy.fit([], [])
    assert proxy.predict([first, second]) == [3.0, 6.0]
    assert proxy.predict([second, first]) == [6.0, 3.0]
    assert called == [first, second]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError) as error:
        learned("gbt", SMALL)
    assert str(error.value) == ("unknown predictor 'gbt'; did you mean 'gbrt'? (allowed: gbrt, gp)")


def _record(index: int, score: float, predicted: float | None, state: State = "complete") -> Record:
    return Record(
        index, index, SMALL.smallest, score, {}, "random", (), 0, 0.1, state, None, predicted
    )


def test_agreement_counts_what_was_predicted_and_measured() -> None:
    records = [
        _record(0, 5.0, None),
        _record(1, 1.0, 10.0),
        _record(2, 2.0, 30.0),
        _record(3, 3.0, 20.0),
        _record(4, float("nan"), 40.0, "stopped"),
    ]
    found = agreement(records)
    assert found is not None
    assert found.subnets == 3
    # by hand: one of three pairs is out of order; squared rank differences are 0, 1, 1
    assert found.kendall == pytest.approx((2 - 1) / 3)
    assert found.spearman == pytest.approx(1 - 6 * 2 / (3 * 8))
    assert str(found) == (
        "rank correlation with the score 0.50 (Spearman), 0.33 (Kendall) over 3 subnets, each "
        "predicted before it was measured"
    )


def test_without_two_different_predictions_there_is_none() -> None:
    assert agreement([]) is None
    assert agreement([_record(0, 1.0, 1.0)]) is None
    assert agreement([_record(0, 1.0, 1.0), _record(1, 2.0, 1.0)]) is None

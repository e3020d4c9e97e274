from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from report import demo
from report.test_run import body
from vitnas.arch import Arch
from vitnas.report.run import report_run
from vitnas.search.predictor import Proxy, agreement
from vitnas.search.racing import one_by_one
from vitnas.search.study import search


def _search(folder: Path, score: Any, **settings: Any) -> Any:
    return search(
        demo.SPACE,
        one_by_one(lambda arch: {"score": score(arch)}),
        strategy="random",
        costs=demo.COSTS,
        folder=folder,
        **settings,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make_run(tmp_path_factory.mktemp("runs") / "digits", trials=8)


def _proxy(arch: Arch) -> float:
    return 1e6 + demo.score(arch)


def test_a_proxys_scores_are_never_among_accuracies(made: Path) -> None:
    before = body(report_run(made))
    assert "proxy" not in before
    told = "zero-cost proxy dss, no images"
    records = _search(
        made / "searches" / "random-dss", _proxy, trials=9, scorer="dss", evaluated_on=told
    )
    text = body(report_run(made))
    main, proxies = text.split("Search by the zero-cost proxy dss")
    assert "They are no accuracies" in proxies
    assert "All subnets scored by dss." in proxies
    assert "can't be compared" not in main
    accuracies, drawn = main.split("Comparison")[1], proxies.split("Architectures")[0]
    for record in records:
        number = f"{record.score:.4f}"[:9]
        assert number not in accuracies
        assert number in drawn
    assert "random, 9 subnets evaluated; no limit; seed 0; ranked on zero-cost proxy dss" in main


def test_only_proxies_draw_no_accuracies(tmp_path: Path) -> None:
    _search(tmp_path / "searches" / "x", _proxy, trials=4, scorer="dss", evaluated_on="dss")
    text = body(report_run(tmp_path))
    assert "Search by the zero-cost proxy dss" in text
    assert "top-1" not in text


def test_the_header_says_how_well_a_predictor_predicted(tmp_path: Path) -> None:
    folder = tmp_path / "searches" / "random-oracle"
    records = _search(
        folder, demo.score, trials=12, predictor=Proxy("params", demo.COSTS["params"])
    )
    found = agreement(records)
    assert found is not None
    assert f"each the best of 4 by predictor params, {found}; ranked on" in body(
        report_run(tmp_path)
    )


def test_too_few_predictions_are_said_to_be(tmp_path: Path) -> None:
    folder = tmp_path / "searches" / "random"
    _search(folder, demo.score, trials=1, predictor=Proxy("params", demo.COSTS["params"]))
    assert "by predictor params, too few subnets to say how well it predicts" in body(
        report_run(tmp_path)
    )

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from report import demo
from vitnas.report.contents import Study
from vitnas.report.mirror import MOST, Mirror, as_trial, dashboard_figures, published
from vitnas.search.ledger import Settings, read
from vitnas.search.racing import one_by_one
from vitnas.search.remote import RemoteLedger
from vitnas.search.study import search
from vitnas.standing import standing
from vitnas.testing.servers import postgres
from vitnas.zoo import entries

SETTINGS = Settings(demo.SPACE, (demo.LIMIT,), "evolution", {}, 0)

pytest.importorskip("optuna_dashboard")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make_run(tmp_path_factory.mktemp("runs") / "digits", trials=6)


def attached(mirror: Mirror) -> list[dict[str, Any]]:
    """The figures of each study, by name, as the dashboard reads them."""
    from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

    studies = mirror.storage.get_all_studies()
    return [get_plotly_graph_objects(study.system_attrs) for study in studies]


def test_a_copy_follows_and_leaves_the_ledger_alone(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made, tmp_path / "digits"))
    ledgers = sorted((run / "searches").glob("*/*"))
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in ledgers]
    mirror = Mirror([run])
    assert mirror.update() == 2
    assert mirror.update() == 0
    names = [study.study_name for study in mirror.storage.get_all_studies()]
    assert names == ["digits / evolution", "digits / random"]
    assert set(attached(mirror)[0]) == {
        "score-against-params",
        "score-against-macs",
        "best-so-far",
        "hypervolume",
        "choices-of-the-best-over-generations",
        "best-architectures",
        "lineage-of-the-best",
        "training-of-the-supernet",
    }
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in ledgers] == before

    search(
        demo.SPACE,
        one_by_one(lambda arch: {"score": demo.score(arch)}),
        strategy="random",
        limits=[demo.LIMIT],
        costs=demo.COSTS,
        trials=9,
        folder=run / "searches" / "random",
        evaluated_on="search split of digits, 215 images, weights 0123456789abcdef",
    )
    first = attached(mirror)[1]
    heights = [json.loads(figure)["layout"]["height"] for figure in attached(mirror)[0].values()]
    assert all(200 < height <= 480 for height in heights), "a card of the dashboard shows no more"
    assert mirror.update() == 1
    assert len(mirror.storage.get_all_trials(1)) == 9
    assert attached(mirror)[1]["best-so-far"] != first["best-so-far"]


def test_searches_of_the_rounds_of_a_space_evolution_are_copied(made: Path, tmp_path: Path) -> None:
    """Each with the training of its own supernet."""
    run = tmp_path / "evolved"
    for number in (2, 10):
        shutil.copytree(made / "searches" / "random", run / "space-evolution" / f"round-{number}")
    shutil.copytree(made / "searches" / "evolution", run / "rounds" / "10" / "searches" / "mine")
    shutil.copy(made / "metrics.jsonl", run / "rounds" / "10")
    mirror = Mirror([run])
    assert mirror.update() == 3
    names = [study.study_name for study in mirror.storage.get_all_studies()]
    assert names == ["evolved / round-10/mine", "evolved / round-2", "evolved / round-10"]
    trained = ["training-of-the-supernet" in shown for shown in attached(mirror)]
    assert trained == [True, False, True]


def test_a_search_on_a_database_is_followed_in_its_folder(tmp_path: Path) -> None:
    """`vitnas view` and `runs show` read the run's own journal, which follows the database."""
    run = tmp_path / "run"
    folder, mirror = run / "searches" / "evolution", Mirror([run])
    with postgres() as server, RemoteLedger(folder, SETTINGS, server.address) as ledger:
        for index, record in enumerate(demo.records(3)):
            ledger.record(
                record.arch,
                index=index,
                origin="random",
                parents=(),
                generation=0,
                costs=record.metrics,
                result={"score": record.score},
                seconds=0.1,
            )
            ledger.news()
            assert mirror.update() == 1
            assert len(mirror.storage.get_all_trials(0)) == index + 1
            (search,) = standing(run).searches
            assert search.done == index + 1


def test_trials_are_told_whole() -> None:
    record = replace(demo.record(3, demo.SPACE.largest), parents=(1, 2), generation=4, ended=9e8)
    trial = as_trial(record, SETTINGS)
    assert trial.values == [record.score]
    assert trial.user_attrs["arch"] == record.arch.to_json()
    assert trial.user_attrs["parents"] == [1, 2]
    assert trial.user_attrs["params"] == record.metrics["params"]
    assert trial.params["depth"] == 4
    assert trial.datetime_complete == datetime.fromtimestamp(9e8)
    assert trial.duration is not None
    assert trial.duration.total_seconds() == pytest.approx(0.1)
    two = replace(SETTINGS, options={"minimize": ["macs"]})
    assert as_trial(record, two).values == [record.score, record.metrics["macs"]]
    stopped = as_trial(replace(record, state="stopped", score=math.nan, at_most=9.0), SETTINGS)
    assert (stopped.state.name, stopped.user_attrs["at_most"]) == ("PRUNED", 9.0)


def test_damage_is_told_once(made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Path(shutil.copytree(made, tmp_path / "digits"))
    (run / "searches" / "random" / "study.journal").write_text("no journal\n")
    mirror = Mirror([run])
    with caplog.at_level(logging.WARNING):
        mirror.update()
        mirror.update()
    assert len(caplog.messages) == 1
    assert "study.journal" in caplog.messages[0]
    assert len(mirror) == 1


def test_what_was_not_copied_for_a_fault_is_copied_later(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(made, tmp_path / "digits"))
    shutil.rmtree(run / "searches" / "random")
    copied = Mirror([run])

    def broken(*_: object) -> None:
        raise RuntimeError("a figure can't be drawn")

    with monkeypatch.context() as patch:
        patch.setattr("vitnas.report.mirror.dashboard_figures", broken)
        with pytest.raises(RuntimeError, match="can't be drawn"):
            copied.update()
    (run / "metrics.jsonl").touch()
    assert copied.update() == 1
    assert len(copied.storage.get_all_trials(0)) == 6


def test_figures_of_many_trials_stay_small(made: Path) -> None:
    records = [
        replace(record, number=i, generation=i)
        for i, record in enumerate(demo.records(100) * (2 * MOST // 100))
    ]
    drawn = dict(dashboard_figures(made, Study("many", SETTINGS, records)))
    assert sum(len(figure.to_json()) for figure in drawn.values()) < 700_000
    for name in ("score-against-params", "best-so-far"):
        assert f"of {2 * MOST:,} trials" in drawn[name].layout.xaxis.title.text


def test_published_nets_stand_beside_a_search_that_compares(made: Path) -> None:
    import vitnas

    space = vitnas.space("autoformer-tiny")
    settings = Settings(space, (), "random", {}, 0, "search split of imagenet, 10,000 images")
    found = published(Study("a", settings, []), "params")
    entry = entries()["autoformer-tiny"]
    assert found == {"autoformer-tiny": (entry.params, entry.top1)}
    other = replace(settings, evaluated_on="search split of digits")
    assert published(Study("a", other, []), "params") == {}
    settings, records = read(made / "searches" / "random")
    assert dict(dashboard_figures(made, Study("random", settings, records)))

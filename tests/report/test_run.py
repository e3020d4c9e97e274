from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from report import demo
from report.figures.test_spaces import evolved
from vitnas.arch import Arch
from vitnas.cost.conditions import Settings
from vitnas.cost.table import LatencyTable, TableError
from vitnas.errors import InputError
from vitnas.report.figures import pareto
from vitnas.report.run import report_run
from vitnas.run import LATENCY
from vitnas.search.racing import Hopeless, Result
from vitnas.search.space_evolution_dimensions import Dimension, values_of
from vitnas.search.study import search

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make_run(tmp_path_factory.mktemp("runs") / "digits", trials=8)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "digits"))


def body(page: Path) -> str:
    """What a reader sees before the scripts, without tags, and the data of the figures."""
    text = page.read_text("utf-8").split("<main>")[1].split("</main>")[0]
    return html.unescape(re.sub(r"</?(?!script)[a-z][^>]*>", " ", text))


def test_the_header_says_what_was_done_on_which_images(run: Path) -> None:
    text = body(report_run(run, {"machine": "two cores"}))
    facts = [
        "vitnas run digits",
        "train split, 1,222 images (80 % of the images): weights were trained on nothing else",
        "search split, 215 images (15 % of train): held out of training",
        "test split, 360 images (20 %, fixed): evaluated for evolution, evolution-finetuned, ",
        "space autoformer-digits, epochs 12, seed 0",
        "evolution, 8 subnets evaluated; params <= 60k; seed 0; ranked on search split of digits",
        "two cores",
    ]
    assert [fact for fact in facts if fact not in text] == []
    assert "Not in this report" not in text


def test_latencies_come_with_their_device_and_their_error(run: Path) -> None:
    settings = Settings("cpu", "a CPU", 2, "float32", "eager", 1, "torch 2.15")
    error = TableError(10, 0.012, 0.034, -0.005)
    LatencyTable("autoformer", {}, settings, 0, 0.0, error, {}).save(
        run / "searches" / "evolution" / LATENCY
    )
    assert (
        "params <= 60k; latency cpu (a CPU, 2 threads), batch size 1, float32, eager, torch 2.15, "
        "error against whole nets: median 1.2%, worst 3.4%, bias -0.5% of 10 random architectures; "
        "seed 0"
    ) in body(report_run(run))


def test_all_parts_are_shown(run: Path) -> None:
    text = body(report_run(run))
    assert text.count('type="application/json"') == 1 + 2 + 1 + 1 + 1 + 2 + 1
    for title in ("Comparison", "Search", "Architectures", "Training of the supernet"):
        assert f" {title} " in text
    largest = demo.score(demo.SPACE.largest)
    assert all(f"{top1:.2f}" in text for top1 in (largest, largest - 0.4, largest + 0.5))
    assert "can't be compared" not in text
    assert "space: autoformer-digits" in text


def test_evaluations_that_were_stopped_are_told_and_not_drawn(run: Path) -> None:
    """A bound is far above what the figure shows; as a score it would be the best of all."""

    def race(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        return [_race(arch, hopeless) for arch in archs]

    def _race(arch: Arch, hopeless: Hopeless | None) -> Result:
        at_most = demo.score(arch) + 0.01
        if hopeless and hopeless(arch, at_most):
            return {"at_most": at_most, "images": 64}
        return {"score": demo.score(arch)}

    shutil.rmtree(run / "searches" / "evolution")
    records = search(
        demo.SPACE,
        race,
        strategy="random",
        costs=demo.COSTS,
        trials=60,
        folder=run / "searches" / "random2",
        evaluated_on="search split of digits, 215 images, weights 0123456789abcdef",
    )
    stopped = [record for record in records if record.state == "stopped"]
    text = body(report_run(run))
    assert len(stopped) > 5
    assert f"random, 60 subnets evaluated, {len(stopped)} of them not to the end;" in text
    assert f"{len(stopped)} evaluations were stopped early, as soon as it was certain" in text
    assert "All subnets evaluated to the end, with inherited weights." in text
    figure = pareto({"random2": records})
    drawn = {number for number, *_ in figure.data[0].customdata}
    assert drawn == {record.number for record in records} - {record.number for record in stopped}
    whole = [replace(r, score=demo.score(r.arch), state="complete") for r in records]
    assert figure.data[1] == pareto({"random2": whole}).data[1], "another front"


def test_missing_parts_are_named_in_one_line(run: Path) -> None:
    for name in ("searches", "models", "supernet"):
        shutil.rmtree(run / name)
    text = body(report_run(run))
    assert "Not in this report: no supernet; no search; no extracted model." in text
    assert "Training of the supernet" in text
    assert " Search " not in text
    assert "test split: not evaluated so far" in text


def test_an_empty_folder_is_refused_and_left_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds nothing to report"):
        report_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_searches_with_unlike_scores_are_not_compared_silently(run: Path) -> None:
    path = run / "searches" / "random" / "study.journal"
    path.write_text(path.read_text().replace("215 images, weights", "100 images, weights"))
    assert "their scores can't be compared" in body(report_run(run))


def test_hostile_names_and_contents_are_only_text(run: Path) -> None:
    (run / "models" / "largest").rename(run / "models" / EVIL)
    (run / "searches" / "random").rename(run / "searches" / EVIL)
    (run / "config.yaml").write_text(f"data: '{EVIL}'\nspace: '{EVIL}'\nseed: ['{EVIL}']\n")
    path = run / "supernet" / "config.json"
    record = json.loads(path.read_text())
    record["data"] = {"name": EVIL, "how": {"train": EVIL}, "images": {"train": EVIL}}
    path.write_text(json.dumps(record))
    page = report_run(run.rename(run.with_name(EVIL)), {EVIL: EVIL})
    assert "<img" not in page.read_text("utf-8").split("<script>")[0]
    assert body(page).count(EVIL) > 10


def test_a_run_in_progress_can_be_reported(run: Path) -> None:
    with (run / "searches" / "random" / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 4, "wor')
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"kind": "step", "st')
    assert "Not in this report" not in body(report_run(run))


def test_reporting_needs_no_torch(run: Path) -> None:
    code = (
        "import sys; from vitnas.report.run import report_run; report_run(sys.argv[1]); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=True)


def test_importing_figures_loads_no_plotting_library() -> None:
    code = (
        "import sys, vitnas.report.run, vitnas.report.tables; "
        "sys.exit(bool({'plotly', 'torch', 'optuna'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_space_evolution_has_its_place(run: Path, tmp_path: Path) -> None:
    rounds = evolved()
    for found in rounds:
        path = run / "space-evolution" / f"round-{found.number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found.to_dict()))
    text = body(report_run(run))
    grown = values_of(rounds[1].space, Dimension("depth", 1))
    assert "Evolution of the search space" in text
    assert f"round 1, depth.2 {list(grown)}: error falls" in text
    assert f" {rounds[2].quality.error:.2f} " in text
    alone = tmp_path / "alone"
    shutil.copytree(run / "space-evolution", alone / "space-evolution")
    assert "Evolution of the search space" in body(report_run(alone))
    (alone / "space-evolution" / "round-1.json").write_text("{}")
    with pytest.raises(InputError, match="the space evolution is left out"):
        report_run(alone)

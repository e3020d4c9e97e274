from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from report import demo
from vitnas.report.contents import read_contents
from vitnas.report.nets import nets
from vitnas.report.tables import Row
from vitnas.run import fingerprint

LARGEST, SMALLEST = demo.SPACE.largest, demo.SPACE.smallest


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return demo.make_run(tmp_path / "run", trials=2)


def rows(run: Path) -> dict[str, Row]:
    return {net.row.name: net.row for net in nets(read_contents(run))}


def add(run: Path, name: str, top1: float, **provenance: Any) -> None:
    measured = {"test": {"data": "digits", "top1": top1}}
    folder = run / "models" / name
    demo.write_model(folder, LARGEST, name.encode(), provenance=provenance, metrics=measured)


def test_a_row_joins_inherited_and_fine_tuned_accuracy(run: Path) -> None:
    found = rows(run)
    assert list(found) == ["smallest", "evolution", "largest"]
    largest, top1 = found["largest"], demo.score(LARGEST)
    assert largest.params == demo.COSTS["params"](LARGEST)
    assert largest.inherited_search == top1  # from the supernet's training
    assert largest.inherited_test == pytest.approx(top1 - 0.4)
    assert largest.finetuned_test == pytest.approx(top1 + 0.5)
    assert found["evolution"].inherited_search is not None  # from the search


def test_extremes_need_no_extraction(run: Path) -> None:
    shutil.rmtree(run / "models")
    found = rows(run)
    assert list(found) == ["smallest", "largest"]
    assert found["smallest"].inherited_search == demo.score(SMALLEST)
    assert found["smallest"].inherited_test is None


def test_retrained_models_have_their_own_column(run: Path) -> None:
    origin = fingerprint(run / "models" / "largest")
    add(run, "again", 99.0, training="retrained from scratch", **{"from": origin})
    largest = rows(run)["largest"]
    assert largest.retrained_test == 99.0
    assert largest.finetuned_test is not None


def test_a_second_fine_tuning_is_a_row_of_its_own(run: Path) -> None:
    origin = fingerprint(run / "models" / "largest")
    add(run, "other", 12.0, training="fine-tuned", **{"from": origin})
    found = rows(run)
    assert found["largest"].finetuned_test == pytest.approx(demo.score(LARGEST) + 0.5)
    assert found["other"].finetuned_test == 12.0
    assert found["other"].inherited_test is None


def test_fine_tuning_on_other_data_does_not_join(run: Path) -> None:
    for path in (run / "models" / "largest-finetuned").glob("config.json"):
        path.write_text(path.read_text().replace('"name": "digits"', '"name": "letters"'))
    found = rows(run)
    assert found["largest"].finetuned_test is None
    assert found["largest-finetuned"].finetuned_test is None  # measured on digits, not on its own


def test_fine_tuning_a_fine_tuned_model_goes_back_to_the_first(run: Path) -> None:
    first, second = run / "models" / "largest-finetuned", run / "models" / "twice"
    add(run, "twice", 77.0, training="fine-tuned", **{"from": fingerprint(first)})
    add(run, "loop", 1.0, training="fine-tuned", **{"from": fingerprint(second)})
    found = rows(run)
    assert found["twice"].finetuned_test == 77.0
    shutil.rmtree(first)
    assert rows(run)["twice"].finetuned_test == 77.0


def test_a_net_without_weights_is_still_shown(run: Path) -> None:
    for weights in run.rglob("model.safetensors"):
        weights.unlink()
    assert set(rows(run)) >= {"smallest", "evolution", "largest", "largest-finetuned"}

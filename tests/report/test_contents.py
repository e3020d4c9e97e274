from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from report import demo
from vitnas.cost import macs, params
from vitnas.errors import InputError
from vitnas.report.contents import entry, number, read_contents


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make_run(tmp_path_factory.mktemp("runs") / "digits", trials=8)


def test_a_whole_run_is_read_whole(run: Path) -> None:
    contents = read_contents(run)
    assert contents.missing == []
    assert contents.recipe["epochs"] == 12
    assert len(contents.metrics) == 12 * 21
    assert [study.name for study in contents.studies] == ["evolution", "random"]
    assert all(len(study.records) == 8 for study in contents.studies)
    names = ["evolution", "evolution-finetuned", "largest", "largest-finetuned"]
    assert [model.name for model in contents.models][:4] == names


def test_searches_of_the_rounds_of_a_space_evolution_are_read(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "searches" / "random", tmp_path / "rounds" / "1" / "searches" / "mine")
    (study,) = read_contents(tmp_path).studies
    assert (study.name, len(study.records)) == ("round-1/mine", 8)


def test_supernet_and_models_of_a_space_evolution_are_those_of_its_last_round(
    run: Path, tmp_path: Path
) -> None:
    for name in ("2", "10"):
        shutil.copytree(run, tmp_path / "rounds" / name)
    (tmp_path / "rounds" / "2" / "config.yaml").write_text("epochs: 3\n")
    contents, own = read_contents(tmp_path), read_contents(run)
    assert (contents.trained, own.trained) == ("round 10", "")
    assert contents.missing == []
    assert contents.recipe == own.recipe
    assert (contents.supernet, contents.metrics) == (own.supernet, own.metrics)
    assert [model.name for model in contents.models] == [model.name for model in own.models]


def test_costs_are_counted_from_the_architecture(run: Path) -> None:
    smallest, largest = read_contents(run).extremes
    assert smallest.arch == demo.SPACE.smallest
    assert smallest.params == params(smallest.arch, **demo.OPTIONS)
    assert largest.macs == macs(demo.SPACE.largest, **demo.OPTIONS)


def test_reading_changes_nothing(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    read_contents(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    contents = read_contents(tmp_path)
    assert contents.recipe == {"seed": 1}
    expected = ["no supernet", "no metrics.jsonl", "no search", "no extracted model"]
    assert contents.missing == expected


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds nothing to report: no config\.yaml; "):
        read_contents(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.yaml", "a: [1", "config.yaml is not valid YAML"),
        ("config.yaml", "!!python/object/apply:os.system [x]", "config.yaml is not valid YAML"),
        ("config.yaml", b"\xff\xfe", "config.yaml is left out"),
        ("config.yaml", "x" * ((1 << 20) + 1), "config.yaml is left out"),
        ("metrics.jsonl", b"\xff\xfe", "metrics.jsonl"),
        ("metrics.jsonl", "x" * ((1 << 24) + 1), "metrics.jsonl is left out"),
        ("supernet/config.json", "{", "supernet is left out"),
        ("supernet/config.json", "[]", "supernet is left out"),
        ("supernet/config.json", '{"space": {"choices": 3}}', "supernet is left out"),
        ("searches/random/study.journal", "nonsense\n", "search random is left out"),
        ("searches/random/study.journal", "x" * ((1 << 24) + 1), "search random is left out"),
        ("searches/random/latency.json", "[]", "the latency table of search random is left out"),
        ("models/largest/config.json", "[" * 100_000, "models/largest is left out"),
        ("models/largest/config.json", "{}", "models/largest is left out"),
        ("models/largest/config.json", '{"arch": 5, "options": {}}', "models/largest is left out"),
    ],
)
def test_what_is_damaged_is_left_out_and_named(
    tmp_path: Path, file: str, content: str | bytes, told: str
) -> None:
    run = demo.make_run(tmp_path / "run", trials=1)
    data = content.encode() if isinstance(content, str) else content
    (run / file).write_bytes(data)
    contents = read_contents(run)
    assert len(contents.missing) == 1
    assert contents.missing[0].startswith(told)


@pytest.mark.parametrize("gene", ["depth", "embed_dim", "num_heads", "mlp_ratio"])
def test_an_arch_of_wrong_genes_is_left_out(tmp_path: Path, gene: str) -> None:
    run = demo.make_run(tmp_path / "run", trials=1)
    path = run / "models" / "largest" / "config.json"
    record = json.loads(path.read_text())
    wrongs: list[Any] = ["x", [], {"a": 1}, 10**400, None]
    for wrong in wrongs:
        record["arch"]["genes"][gene] = wrong
        path.write_text(json.dumps(record))
        (told,) = read_contents(run).missing
        assert told.startswith("models/largest is left out")


def test_records_are_looked_into_without_trust() -> None:
    record = {"a": {"b": 1.5, "c": True, "d": "x", "e": float("nan")}, "f": 3}
    assert entry(record, "a", "d") == "x"
    assert number(record, "a", "b") == 1.5
    absent = [("a", "c"), ("a", "d"), ("a", "e"), ("f", "g"), ("a", "b", "c"), ("z",)]
    assert [number(record, *path) for path in absent] == [None] * 6

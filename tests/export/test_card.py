"""The model card: front matter that YAML reads back, and text that stays text."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vitnas
from vitnas.export import export_model
from vitnas.export.card import card
from vitnas.export.markdown import fenced, plain, table
from vitnas.export.shipment import open_shipment

from .conftest import RECORD, save

NOTES = {"architecture": "vitnas_vit", "stock": False}


def front(text: str) -> Any:
    """Return the front matter of a card."""
    before, matter, _ = text.split("---\n", 2)
    assert before == ""
    return yaml.safe_load(matter)


def test_a_card_tells_what_is_known(digits_model: Path) -> None:
    path = export_model(digits_model, "timm", licence="MIT").path
    text = (path / "README.md").read_text()
    matter = front(text)
    assert matter["license"] == "mit"
    assert matter["library_name"] == "timm"
    assert matter["pipeline_tag"] == "image-classification"
    (entry,) = matter["model-index"]
    assert entry["results"][0]["metrics"][0]["value"] == 12.5
    arch = open_shipment(digits_model).record["arch"]
    options = open_shipment(digits_model).record["options"]
    params = vitnas.cost.params(vitnas.Arch.from_dict(arch), **options)
    for told in (
        "# digits-vit",
        f"| parameters | {params:,} |",
        "| test | digits | 12.5 | 50 | 2.3 | 359 |",
        "| chosen | best of 6 subnets by random search |",
        '"seed": 7',
        "`vitnas_vit`",
        "The weights: MIT.",
        "import modeling",
    ):
        assert told in text, told


def test_a_card_tells_the_search_and_what_it_found(tmp_path: Path) -> None:
    settings = {
        "options": {"population": 20},
        "seed": 7,
        "scorer": "top-1",
        "predictor": "gbrt",
        "oversample": 4,
        "measured_on": "cpu (a CPU, 2 threads), latency table 12ab",
    }
    metrics = {"latency": 0.00123456, "memory": 123456.0, "loss": 2.34567, "macs": 5.0}
    origin = {"search": settings, "search_metrics": metrics, "search_top1": 17.2727}
    text = card(open_shipment(save("vit", tmp_path / "m", provenance=origin)), "timm", NOTES, None)
    for told in (
        "| settings of the search | population=20 |",
        "| seed of the search | 7 |",
        "| predictor | gbrt, best of 4 |",
        "| costs measured on | cpu (a CPU, 2 threads), latency table 12ab |",
        "| top-1 in the search | 17.27 |",
        "| latency in the search | 1.235 ms |",
        "| memory in the search | 123.5 kB |",
        "| loss in the search | 2.346 |",
    ):
        assert told in text, told
    assert "macs in the search" not in text  # stand above, as multiply-adds
    proxy = {"search": {"scorer": "dss"}, "dss": 1.25}
    text = card(open_shipment(save("vit", tmp_path / "p", provenance=proxy)), "timm", NOTES, None)
    assert "| dss in the search | 1.25 |" in text
    assert "predictor" not in text


def test_the_code_of_a_card_is_python(tmp_path: Path) -> None:
    for name, notes in (("vit", NOTES), ("stock", {**NOTES, "stock": True})):
        text = card(open_shipment(save(name, tmp_path / name)), "timm", notes, None)
        code = text.split("```python\n", 1)[1].split("```", 1)[0]
        names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
        assert names <= {"sys", "timm", "model", "config", "transform"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"license": "unknown"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("My: own\n---", {"license": "other", "license_name": "my-own"}),
        ("---", {"license": "other", "license_name": "other"}),
    ],
)
def test_licences(given: str | None, expected: dict[str, str], digits_model: Path) -> None:
    matter = front(card(open_shipment(digits_model), "timm", NOTES, given))
    assert {key: matter[key] for key in matter if key.startswith("license")} == expected


def test_a_data_set_of_the_hub_is_linked_and_no_other(tmp_path: Path) -> None:
    for name, found in (
        ("hfds/cifar10", ["cifar10"]),
        ("hfds/me/my-set", ["me/my-set"]),
        ("hfds//home/me/set", None),
        ("folder/x", None),
    ):
        folder = save("vit", tmp_path / name.replace("/", "-"), data={"name": name})
        matter = front(card(open_shipment(folder), "timm", NOTES, None))
        assert matter.get("datasets") == found


def test_a_model_of_which_nothing_is_known(tmp_path: Path) -> None:
    folder = save("s3", tmp_path / "m", data=None, metrics=None, provenance=None, classes=None)
    text = card(open_shipment(folder), "onnx", {"largest_difference": 2e-7}, None)
    assert "Not measured." in text
    assert "Nothing is known about it." in text
    assert "at most 2e-07" in text
    assert "model-index" not in front(text)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=40), number=st.floats(allow_nan=False, allow_infinity=False))
def test_what_a_record_says_never_becomes_markup(
    text: str, number: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hostile = f"{text}\n---\n# <script>alert(1)</script>\n```\n| x | [y](z) {text}"
    info: dict[str, Any] = {
        "classes": [hostile] * 10,
        "data": {"name": hostile, "how": {"train": hostile}, "seed": hostile},
        "provenance": {
            "chosen": hostile,
            "limits": [hostile],
            "training": {"x": hostile},
            "search": {"options": {hostile: hostile}, "scorer": hostile, "predictor": hostile},
            "search_metrics": {hostile: number},
            hostile: number,
        },
        "metrics": {hostile: {"top1": number, "data": hostile}, "test": [hostile]},
    }
    folder = save("vit", tmp_path_factory.mktemp("x") / "model", **info)
    written = card(open_shipment(folder), "timm", NOTES, hostile)
    matter = front(written)
    assert matter["license"] == "other"
    assert "tags" in matter
    outside = _outside_fences(written.split("---\n", 2)[2])
    assert "<script>" not in outside
    assert [line for line in outside.splitlines() if line.startswith("# ")] == ["# model"]


def _outside_fences(text: str) -> str:
    lines, fence = [], ""
    for line in text.splitlines():
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line.rstrip("abcdefghijklmnopqrstuvwxyz")
        else:
            lines.append(line)
    assert not fence
    return "\n".join(lines)


def test_markdown() -> None:
    assert plain("a|b\n# *c* <d> `e` [f](g)") == r"a\|b \# \*c\* \<d\> \`e\` \[f\](g)"
    assert fenced("x ```` y", "json") == "`````json\nx ```` y\n`````"
    assert table(["a", "b"], [(1, "x|y")]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"


@pytest.mark.parametrize("field", ["data", "metrics", "provenance"])
@pytest.mark.parametrize("value", [[], "text", 3, {"name": {"x": 1}}, {"test": {"top1": "high"}}])
def test_a_damaged_record_is_no_crash(field: str, value: Any, tmp_path: Path) -> None:
    folder = save("vit", tmp_path / "m", **{**RECORD, field: value})
    assert front(card(open_shipment(folder), "timm", NOTES, None))["license"] == "unknown"

"""`vitnas export` and `vitnas predict` on a model that was found by a search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from vitnas.data.sources import open_data

from .calling import disk_of, files_in, refusal
from .conftest import Command


@pytest.fixture
def model(run: Path) -> Path:
    """The subnet that the search found."""
    return run / "models" / "random"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image of the test split."""
    path = tmp_path / "digit.png"
    open_data("digits").test[0][0].save(path)
    return path


def test_a_searched_model_is_shipped_and_tried(
    model: Path, picture: Path, command: Command
) -> None:
    result = command("export", model, "--licence", "mit")
    target = model / "exports" / "timm"
    assert (result.code, result.out) == (0, f"timm export written to {target}\n")
    first = command("predict", model, picture, "--device", "cpu")
    assert first.code == 0
    assert first.out.startswith(f"{picture}: ")
    assert first.out.count(" %") == 3
    assert command("predict", target, picture, "--device", "cpu") == first
    assert command("predict", target, picture, "--top", "1").out.count(" %") == 1


def test_the_card_says_where_the_model_comes_from(model: Path, command: Command) -> None:
    assert command("evaluate", model).code == 0
    assert command("export", model).code == 0
    text = (model / "exports" / "timm" / "README.md").read_text()
    record = json.loads((model / "config.json").read_text())
    matter = yaml.safe_load(text.split("---\n", 2)[1])
    (entry,) = matter["model-index"]
    top1 = entry["results"][0]["metrics"][0]["value"]
    assert top1 == pytest.approx(record["metrics"]["test"]["top1"], abs=1e-4)
    origin = record["provenance"]
    assert origin["search"]["strategy"] == "random"
    assert origin["search"]["seed"] == 0
    assert origin["space"]["family"] == "autoformer"
    assert origin["supernet_training"]["recipe"]["epochs"] == 2
    for told in ("best of 6 subnets by random search", '"base_lr"', '"choices"', "359"):
        assert told in text, told


def test_nothing_is_replaced(model: Path, command: Command) -> None:
    assert command("export", model).code == 0
    before = files_in(model)
    assert "exports/timm is there already; delete it, or" in refusal(command("export", model))
    assert "models/random is there already" in refusal(command("export", model, "--out", model))
    assert files_in(model) == before


def test_a_full_disk_leaves_nothing(model: Path, command: Command) -> None:
    with disk_of(9_000):
        line = refusal(command("export", model))
    assert line.startswith(f"can't write {model / 'exports' / 'timm'}: ")
    assert list((model / "exports").iterdir()) == []


def test_wrong_words(model: Path, run: Path, picture: Path, command: Command) -> None:
    for args, message in (
        (["export", run], "is a run, not a model"),
        (["export", run / "supernet"], "is a supernet; extract a subnet first"),
        (["export", model, "--to", "onx"], "invalid choice 'onx' for argument '--to'"),
        (
            ["export", model, "--data", "digits"],
            "data, root and skip_broken are for measuring int8",
        ),
        (["export", model, "--to", "int8", "--data", "digit"], "unknown data 'digit'"),
        (["predict", model], "no images given"),
        (["predict", model, "nowhere.png"], "there is no image nowhere.png"),
        (["predict", run, picture], "is a run, not a model"),
        (["predict", model, picture, "--top", "0"], "top is 0"),
    ):
        assert message in refusal(command(*args)), args
    assert not (model / "exports").exists()


def test_a_broken_image_is_named_and_left_out_if_wanted(
    model: Path, picture: Path, command: Command
) -> None:
    broken = picture.with_name("broken.png")
    Image.new("L", (8, 8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:40])
    both = ["predict", model, picture, broken]
    assert f"can't read image {broken}: " in refusal(command(*both))
    result = command(*both, "--skip-broken", "yes")
    assert result.code == 0
    assert result.err == f"skipped 1 broken images: {broken}\n"
    assert len(result.out.splitlines()) == 1

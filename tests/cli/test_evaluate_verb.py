"""`vitnas evaluate` and `vitnas report`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import vitnas
from vitnas.data.images import read
from vitnas.data.sources import open_data
from vitnas.data.transforms import default_input, eval_transform
from vitnas.folder import read_config, update_config
from vitnas.run import model_input

from .calling import files_in, refusal
from .conftest import Command
from .images import write_images


def top1_by_hand(folder: Path) -> float:
    """Accuracy on the digits' test split, image by image."""
    data = open_data("digits", search_fraction=0.15)
    transform = eval_transform(default_input(data))
    images = torch.stack([transform(data.test[i][0]) for i in range(len(data.test))])
    with torch.no_grad():
        found = vitnas.load(folder)(images).argmax(1).numpy()
    return float(100 * np.mean(found == data.test.labels))


def test_the_test_split_is_scored_and_the_figures_kept(run: Path, command: Command) -> None:
    model = run / "models" / "largest"
    weights = (model / "model.safetensors").read_bytes()
    result = command("evaluate", model, "--batch-size", "100")
    kept = read_config(model)["metrics"]["test"]
    assert kept["top1"] == pytest.approx(top1_by_hand(model))
    assert (kept["data"], kept["images"]) == ("digits", 359)
    assert (result.code, result.err) == (0, "")
    line = (
        rf"{re.escape(str(model))}, test split of digits: top-1 {kept['top1']:.2f}, top-5 "
        rf"{kept['top5']:.2f}, loss {kept['loss']:.4f} \(359 images, [\d,]+ images/s\)\n"
    )
    assert re.fullmatch(line, result.out)
    assert (model / "model.safetensors").read_bytes() == weights


def test_a_supernet_stands_for_its_largest_subnet(run: Path, command: Command) -> None:
    before = read_config(run / "supernet")["metrics"]["search"]
    assert command("evaluate", run / "supernet", "--split", "search").code == 0
    after = read_config(run / "supernet")["metrics"]["search"]
    assert after["top1"] == before["top1_largest"]
    assert before.items() <= after.items()


def test_other_data_does_not_displace_the_figures_on_its_own(
    run: Path, tmp_path: Path, command: Command
) -> None:
    model = run / "models" / "smallest"
    assert command("evaluate", model).code == 0
    own = read_config(model)["metrics"]["test"]
    name = f"folder/{write_images(tmp_path / 'images', 10)}"
    result = command("evaluate", model, "--data", name)
    assert result.code == 0
    assert result.err == (
        "the model's classes are named 0, 1, 2, ...; those of "
        f"{name} are named class00, class01, class02, ...: the accuracy means something only if "
        "they are the same things in the same order\n"
    )
    metrics = read_config(model)["metrics"]
    assert metrics["test"] == own
    assert metrics[f"test of {name}"]["data"] == name


def test_broken_images_are_named_and_left_out_if_wanted(
    run: Path, tmp_path: Path, command: Command
) -> None:
    images = write_images(tmp_path / "images", 10)
    name, model = f"folder/{images}", run / "models" / "largest"
    update_config(model, classes=[f"class{label:02}" for label in range(10)])
    held = open_data(name).test
    broken, lost = (Path(held.source.where(int(held.indices[place]))) for place in (0, 5))
    kept = np.delete(held.indices, [0, 5])
    broken.write_bytes(broken.read_bytes()[:-30])
    words, before = ("evaluate", model, "--data", name), files_in(run)
    assert refusal(command(*words)) == (
        f"can't read image {broken}: image file is truncated; replace or delete it; training "
        "skips it with --set skip_broken=true, other commands with --skip-broken yes"
    )
    assert files_in(run) == before
    lost.write_bytes(b"")
    result = command(*words, "--skip-broken", "yes")
    assert result.code == 0
    told = f"test split of {name}: skipped 2 broken images: {broken}, {lost}"
    assert told in result.err.splitlines()
    metrics = read_config(model)["metrics"][f"test of {name}"]
    assert metrics["images"] == len(held) - 2
    assert f"({len(held) - 2} images, " in result.out

    # the same images as before, so that none of training is among them
    transform = eval_transform(model_input(read_config(model)))
    batch = torch.stack([transform(read(held.source, index)) for index in kept.tolist()])
    with torch.no_grad():
        found = vitnas.load(model)(batch).argmax(1).numpy()
    assert metrics["top1"] == pytest.approx(100 * np.mean(found == held.source.labels[kept]))

    for index in kept.tolist():
        Path(held.source.where(index)).write_bytes(b"")
    assert refusal(command(*words, "--skip-broken", "yes")).endswith(
        f"the test split of {name} has no image that can be read"
    )


def test_another_number_of_classes_is_refused(run: Path, tmp_path: Path, command: Command) -> None:
    name = f"folder/{write_images(tmp_path / 'images', 3)}"
    before = files_in(run)
    assert refusal(command("evaluate", run / "models" / "largest", "--data", name)) == (
        f"the model has 10 classes, {name} has 3; fine-tune it on this data first"
    )
    assert files_in(run) == before


def test_a_model_that_names_no_data_needs_some(run: Path, tmp_path: Path, command: Command) -> None:
    model = tmp_path / "model"
    vitnas.save(vitnas.load(run / "models" / "largest"), model)
    message = "the model does not say what data it is for; give --data"
    assert refusal(command("evaluate", model)) == message
    assert command("evaluate", model, "--data", "digits").code == 0
    assert read_config(model)["metrics"]["test"]["data"] == "digits"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data", {"name": "digits"}, "the field data of the model's config.json is damaged: "
         "KeyError('search_fraction')"),
        ("data", [1], "the field data of the model's config.json is damaged: "),
        ("input", {"img_size": 8}, "the field input of the model's config.json is damaged: "
         "TypeError(\"'int' object is not iterable\")"),
        ("input", {"size": 8}, "the field input of the model's config.json is damaged: "
         "KeyError('img_size')"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused_by_its_field(
    field: str, value: object, message: str, run: Path, command: Command
) -> None:
    model = run / "models" / "largest"
    record = {**read_config(model), field: value}
    (model / "config.json").write_text(json.dumps(record))
    assert refusal(command("evaluate", model)).startswith(message)


def test_report(run: Path, command: Command) -> None:
    assert command("evaluate", run / "models" / "largest").code == 0
    result = command("report", run)
    assert (result.code, result.out) == (0, f"report written to {run / 'report.html'}\n")
    assert "evaluated for largest" in (run / "report.html").read_text()


def test_a_folder_without_anything_has_no_report(tmp_path: Path, command: Command) -> None:
    assert refusal(command("report", tmp_path)) == (
        f"{tmp_path} holds nothing to report: no config.yaml; no supernet; no metrics.jsonl; "
        "no search; no extracted model"
    )
    assert not any(tmp_path.iterdir())


def test_metrics_that_are_not_there_are_no_obstacle(run: Path, command: Command) -> None:
    model = run / "models" / "largest"
    update_config(model, metrics=None, data=None)
    assert command("evaluate", model, "--data", "digits").code == 0

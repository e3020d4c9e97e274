"""The folder of a run, and what a model's record says about its data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

import vitnas
from vitnas import run
from vitnas.data.sources import Data, open_data
from vitnas.data.transforms import Input, default_input
from vitnas.errors import InputError
from vitnas.files import write_json

RECORD: dict[str, Any] = {"vitnas": 1, "options": {"img_size": [8, 8], "in_chans": 1}}


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data("digits", search_fraction=0.2, seed=3)


def test_the_supernet_of_a_run_or_the_folder_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no supernet; make one with `vitnas train` or"):
        run.supernet_folder(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="is not trained to the end; repeat `vitnas train`"):
        run.supernet_folder(tmp_path)
    write_json(tmp_path / "supernet" / "config.json", {})
    assert run.supernet_folder(tmp_path) == tmp_path / "supernet"
    assert run.supernet_folder(tmp_path / "supernet") == tmp_path / "supernet"


def test_a_run_is_not_taken_for_a_model(tmp_path: Path) -> None:
    write_json(tmp_path / "supernet" / "config.json", RECORD)
    assert run.model_record(tmp_path / "supernet") == RECORD
    with pytest.raises(InputError, match=r"is a run, not a model; give one of .*/models, which"):
        run.model_record(tmp_path)
    with pytest.raises(InputError, match=r"is no model folder: it has no config\.json"):
        run.model_record(tmp_path / "nowhere")


def test_only_what_came_from_this_training_may_be_replaced(tmp_path: Path) -> None:
    model = tmp_path / "supernet"
    run.check_output(tmp_path, model)
    write_json(model / "config.json", {})
    with pytest.raises(InputError, match=r"is a model already, and .* has no training state"):
        run.check_output(tmp_path, model)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-000000003.pt").touch()
    run.check_output(tmp_path, model)


def test_data_is_opened_again_with_the_same_splits(digits: Data) -> None:
    input = default_input(digits)
    record = {**RECORD, **run.model_info(digits, input, None)}
    again = run.open_model_data(record, None, None)
    named = run.open_model_data(record, "digits", None, search_fraction=0.5, seed=7)
    for data in (again, named):
        assert (data.search_fraction, data.seed) == (0.2, 3)
        assert data.search.fingerprint() == digits.search.fingerprint()
    assert run.model_input(record, digits) == input
    assert record["classes"] == list("0123456789")


def test_other_data_is_split_as_asked(digits: Data) -> None:
    record = {**RECORD, **run.model_info(digits, default_input(digits), None)}
    record["data"]["name"] = "folder/elsewhere"
    data = run.open_model_data(record, "digits", None, search_fraction=0.5, seed=7)
    assert (data.search_fraction, data.seed) == (0.5, 7)


def test_where_data_lies_is_remembered(tmp_path: Path) -> None:
    known = {"name": "folder/images", "search_fraction": 0.1, "seed": 0, "root": str(tmp_path)}
    with pytest.raises(InputError, match=f"there is no folder {tmp_path}/images"):
        run.open_model_data({**RECORD, "data": known}, None, None)
    with pytest.raises(InputError, match="there is no folder /other/images"):
        run.open_model_data({**RECORD, "data": known}, None, "/other")


def test_a_record_without_data_needs_a_name() -> None:
    for record in (RECORD, {**RECORD, "data": None}, {**RECORD, "data": {}}):
        with pytest.raises(InputError, match="does not say what data it is for; give --data"):
            run.open_model_data(record, None, None)
        assert run.open_model_data(record, "digits", None).search_fraction == 0.1


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"name": "digits"}, "KeyError('search_fraction')"),
        ("digits", "ValueError("),
        (3, "TypeError("),
    ],
)
def test_damaged_data(data: Any, error: str) -> None:
    message = "the field data of the model's config.json is damaged: "
    with pytest.raises(InputError) as caught:
        run.open_model_data({**RECORD, "data": data}, None, None)
    assert str(caught.value).startswith(message + error)


def test_input_is_the_models_own_or_the_usual(digits: Data) -> None:
    assert run.model_input(RECORD, digits) == default_input(digits, (8, 8), 1)
    own = {"img_size": [8, 12], "channels": 1, "mean": [0.1], "std": [0.2]}
    found = run.model_input({**RECORD, "input": own}, digits)
    assert found == Input((8, 12), 1, (0.1,), (0.2,))
    for broken in ({}, {"img_size": [8], "mean": [], "std": []}, 3, {**own, "size": 3}):
        with pytest.raises(InputError, match=r"img_size is \(8,\)|the field input of the model's"):
            run.model_input({**RECORD, "input": broken}, digits)


def test_class_counts(digits: Data) -> None:
    run.check_classes({"options": {"num_classes": 10}}, digits)
    message = "the model has 37 classes, digits has 10; fine-tune it on this data first"
    with pytest.raises(InputError, match=message):
        run.check_classes({"options": {"num_classes": 37}}, digits)


def test_fingerprints_are_of_the_weights(tmp_path: Path) -> None:
    arch = vitnas.Arch("vit", depth=1, embed_dim=8, num_heads=(1,), mlp_ratio=(1,))
    folder = vitnas.save(vitnas.build(arch, 2, 16, head_dim=8), tmp_path / "model")
    content = (folder / "model.safetensors").read_bytes()
    assert run.fingerprint(folder) == hashlib.sha256(content).hexdigest()[:16]

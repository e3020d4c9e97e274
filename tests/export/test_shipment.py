"""What leaves the machine with a model, and what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import vitnas
from vitnas.errors import InputError
from vitnas.export import export_model
from vitnas.export.shipment import open_shipment, shareable
from vitnas.folder import read_config, update_config

from .conftest import save

PRIVATE: dict[str, Any] = {
    "data": {
        "name": "folder//srv/me/my data/flowers",
        "root": "/srv/me/roots",
        "how": {"train": "every image of /srv/me/my data/flowers, without search images"},
        "skipped": ["/srv/me/my data/flowers/rose/1.png"],
    },
    "provenance": {
        "recipe": {"data": "wds//srv/me/shards", "root": "/srv/me/roots", "epochs": 3},
        "ranked_on": "search split of folder//srv/me/my data/flowers, 9 images",
    },
    "classes": [f"c{i}" for i in range(10)],
}


def test_no_path_of_this_machine_is_shared() -> None:
    shared = shareable(PRIVATE)
    assert "/srv" not in json.dumps(shared)
    assert shared["data"] == {
        "name": "folder/…/flowers",
        "root": "…/roots",
        "how": {"train": "every image of …/flowers, without search images"},
        "skipped": ["…/1.png"],
    }
    assert shared["provenance"]["recipe"] == {
        "data": "wds/…/shards",
        "root": "…/roots",
        "epochs": 3,
    }
    public = {"data": {"name": "hfds/me/flowers"}}
    assert shareable(public) == public


def test_an_export_has_no_path_of_this_machine(tmp_path: Path) -> None:
    folder = save("vit", tmp_path / "m", **PRIVATE)
    for path in export_model(folder, "timm").path.iterdir():
        assert b"/srv" not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()
    assert read_config(folder)["data"]["root"] == "/srv/me/roots"


def test_the_config_names_no_place_to_write_to(tmp_path: Path) -> None:
    """Whatever a hostile config says: files appear in the folder asked for, nowhere else."""
    outside = "../../outside"
    folder = save(
        "vit",
        tmp_path / "in" / "m",
        export={"to": "timm", "file": outside},
        file=outside,
        architecture=outside,
        model_args={"checkpoint_path": outside},
        pretrained_cfg={"file": outside, "url": outside},
        provenance={"source": outside, "file": outside},
    )
    made = export_model(folder, "timm", tmp_path / "in" / "out").path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["m", "out"]
    assert sorted(path.name for path in made.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "modeling.py",
    ]
    config = json.loads((made / "config.json").read_text())
    assert config["architecture"] == "vitnas_vit"
    assert outside not in json.dumps([config["pretrained_cfg"], config["model_args"]])


def test_a_family_that_is_a_path_is_refused(digits_model: Path) -> None:
    update_config(digits_model, family="../../x")
    arch = read_config(digits_model)["arch"]
    update_config(digits_model, arch={**arch, "family": "../../x"})
    with pytest.raises(InputError, match="unknown model family"):
        export_model(digits_model, "timm")
    assert not (digits_model / "exports").exists()


def test_how_images_are_prepared_is_said_if_it_is_assumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save("vit", tmp_path / "m")
    record = read_config(folder)
    del record["input"]
    (folder / "config.json").write_text(json.dumps(record))
    shipped = open_shipment(folder)
    assert (shipped.input.mean, shipped.input.crop_pct) == ((0.5,), 1.0)
    assert "does not say how images are prepared" in caplog.text


@pytest.mark.parametrize(
    "options",
    [None, [], {}, {"img_size": [8], "in_chans": 1, "num_classes": 3}, {"img_size": [8, "8"]}],
)
def test_damaged_options(options: Any, digits_model: Path) -> None:
    record = {**read_config(digits_model), "options": options}
    (digits_model / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"config\.json is damaged: it has no sensible options"):
        export_model(digits_model, "timm")


def test_wrong_calls(digits_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown export format 'onx'; did you mean 'onnx'\?"):
        export_model(digits_model, "onx")
    for given in ({"data": "digits"}, {"root": "."}, {"skip_broken": True}):
        with pytest.raises(InputError, match="are for measuring int8; leave them out for timm"):
            export_model(digits_model, "timm", **given)
    with pytest.raises(InputError, match="is no model folder"):
        export_model(tmp_path / "nowhere", "timm")
    update_config(digits_model, classes=["a"])
    with pytest.raises(InputError, match=r"the field classes .* does not name 10"):
        export_model(digits_model, "timm")


def test_a_supernet_is_no_model_to_ship(tmp_path: Path) -> None:
    space = vitnas.Space(
        "vit",
        (
            vitnas.Choice("depth", (1,)),
            vitnas.Choice("mlp_ratio", (1.0,), "block"),
            vitnas.Choice("num_heads", (1, 2), "block"),
            vitnas.Choice("embed_dim", (16,)),
        ),
    )
    net = vitnas.Supernet(space, num_classes=2, img_size=8, patch_size=4, head_dim=8)
    with pytest.raises(InputError, match="is a supernet; extract a subnet first"):
        export_model(vitnas.save(net, tmp_path / "net"), "timm")


def test_a_name_says_the_run_of_a_model_inside_one(tmp_path: Path) -> None:
    folder = save("vit", tmp_path / "digits" / "models" / "evolution")
    assert open_shipment(folder).name == "evolution"
    (tmp_path / "digits" / "supernet").mkdir()
    assert open_shipment(folder).name == "digits-evolution"


def test_random_images_are_the_same_each_time(digits_model: Path) -> None:
    shipped = open_shipment(digits_model)
    assert torch.equal(shipped.images(3), shipped.images(3))
    assert shipped.images(3).shape == (3, 1, 8, 8)

"""Converting a foreign checkpoint into a model folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import vitnas
from vitnas.errors import InputError
from vitnas.folder import read_config
from vitnas.interop import cream

from .recorded import case

NAME = "autoformer_gp_rel_cqkv_abs_mlp4"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An official training checkpoint."""
    path = tmp_path / "supernet.pth"
    torch.save({"model": case(NAME).weights, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("given", [True, False])
def test_a_supernet_with_and_without_its_config(
    given: bool, checkpoint: Path, tmp_path: Path
) -> None:
    recorded = case(NAME)
    config = recorded.config if given else None
    folder = vitnas.convert(checkpoint, tmp_path / "net", "cream", config=config)
    net = vitnas.load(folder)
    for i, subnet in enumerate(recorded.subnets):
        with torch.no_grad():
            logits = net(recorded.tensors["input"], cream.arch(subnet))
        torch.testing.assert_close(logits, recorded.tensors[f"logits.{i}"], atol=2e-5, rtol=1e-5)
    provenance = read_config(folder)["provenance"]
    assert provenance["source"] == "cream"
    assert provenance["file"] == "supernet.pth"
    assert provenance["config"]["embed_dim"] == recorded.config["embed_dim"]


def test_a_subnet(checkpoint: Path, tmp_path: Path) -> None:
    recorded = case(NAME)
    arch = cream.arch(recorded.subnets[1])
    model = vitnas.load(vitnas.convert(checkpoint, tmp_path / "model", arch=arch))
    with torch.no_grad():
        logits = model(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits.1"], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "creem"}, "unknown checkpoint source 'creem'; did you mean 'cream'?"),
        (
            {"arch": vitnas.arch("autoformer-tiny")},
            "embed of the root is 192, the supernet has 128",
        ),
        ({"config": {"embed_dim": 128}}, "official AutoFormer config: depth, num_heads missing"),
    ],
)
def test_refusals_write_nothing(
    options: dict[str, Any], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        vitnas.convert(checkpoint, tmp_path / "net", **options)
    assert not (tmp_path / "net").exists()


def test_something_elses_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not official AutoFormer weights: cls_token missing"):
        vitnas.convert(path, tmp_path / "net")


def test_the_target_must_be_a_new_or_empty_folder(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        vitnas.convert(checkpoint, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write .*file"):
        vitnas.convert(checkpoint, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert vitnas.convert(checkpoint, tmp_path / "empty") == tmp_path / "empty"

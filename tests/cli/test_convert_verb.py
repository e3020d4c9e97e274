"""`vitnas convert`, and what can be done with what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import vitnas
from interop.recorded import case
from vitnas.folder import read_config
from vitnas.interop import cream
from vitnas.interop.convert import SOURCES

from .calling import files_in, refusal
from .conftest import Command
from .images import write_images

NAME = "autoformer_gp_rel_cqkv_abs_mlp4"
SPACE = "family: autoformer\ndepth: [1, 2]\nembed_dim: [64]\nnum_heads: [1, 2]\nmlp_ratio: [2]\n"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An official training checkpoint."""
    path = tmp_path / "official.pth"
    torch.save({"model": case(NAME).weights, "epoch": 3}, path)
    return path


def test_a_supernet(checkpoint: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "config.json").write_text(json.dumps(case(NAME).config))
    for words in ((), ("--config", tmp_path / "config.json")):
        folder = tmp_path / f"net{len(words)}"
        result = command("convert", checkpoint, folder, *words)
        assert (result.code, result.err) == (0, "")
        assert result.out == f"cream supernet written to {folder}\n"
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
        assert read_config(folder)["provenance"]["file"] == "official.pth"


def test_a_subnet(checkpoint: Path, tmp_path: Path, command: Command) -> None:
    recorded = case(NAME)
    arch = cream.arch(recorded.subnets[0])
    result = command("convert", checkpoint, tmp_path / "model", "--arch", arch.to_json())
    assert result.out == f"cream subnet written to {tmp_path / 'model'}\n"
    with torch.no_grad():
        logits = vitnas.load(tmp_path / "model")(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits.0"], atol=2e-5, rtol=1e-5)


def test_a_converted_supernet_is_searched_after_it_was_given_a_space(
    checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE)
    classes = case(NAME).config["num_classes"]
    data = ("--data", f"folder/{write_images(tmp_path / 'images', classes)}")
    assert command("convert", checkpoint, tmp_path / "plain").code == 0
    assert refusal(command("search", tmp_path / "plain", *data)) == (
        f"{tmp_path / 'plain'} is no supernet with a search space; `vitnas convert --space` gives "
        "one to a foreign supernet"
    )
    folder = tmp_path / "net"
    assert command("convert", checkpoint, folder, "--space", tmp_path / "mine.yaml").code == 0
    words = ("--strategy", "random", "--trials", "2", *data)
    assert command("search", folder, *words).code == 0
    assert command("extract", folder).code == 0
    assert read_config(folder / "models" / "random")["arch"]["genes"]["embed_dim"] == 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--source", "creem"), "unknown checkpoint source 'creem'; did you mean 'cream'? "
         f"(allowed: {', '.join(sorted(SOURCES))})"),
        (("--arch", "autoformer-tin"), "unknown architecture 'autoformer-tin'; did you mean "
         f"'autoformer-tiny'? (allowed: {', '.join(sorted(vitnas.archs()))})"),
        (("--arch", "autoformer-tiny"), "embed of the root is 192, the supernet has 128"),
        (("--space", "autoformer-tiny"), "embed of the root is 192, the supernet has 128"),
        (("--config", "{tmp}/no.json"), "can't read {tmp}/no.json: No such file or directory"),
        (("--config", "{tmp}/list.json"), "the config must map the original's arguments to "
         "values, not [1]"),
    ],
)  # fmt: skip
def test_refusals_write_nothing(
    words: tuple[str, ...], message: str, checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "list.json").write_text("[1]")
    before = files_in(tmp_path)
    given = [word.format(tmp=tmp_path) for word in words]
    result = command("convert", checkpoint, tmp_path / "net", *given)
    assert refusal(result) == message.format(tmp=tmp_path)
    assert files_in(tmp_path) == before
    assert not (tmp_path / "net").exists()

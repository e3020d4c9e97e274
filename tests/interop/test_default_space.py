"""The space that is taken where nobody names one, and what is then written for other systems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import cream, mmrazor, nni
from vitnas.interop.default_space import default_space, recorded_space
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.zoo import entries

IMAGES = torch.randn(2, 3, 32, 32)


def space_of(num_heads: Any = (1, 2), embed_dim: tuple[int, ...] = (48, 64, 80)) -> Space:
    return Space(
        "autoformer",
        (
            Choice("depth", (1, 2, 3)),
            Choice("mlp_ratio", (1.5, 2.0), "block"),
            Choice("num_heads", num_heads, "block"),
            Choice("embed_dim", embed_dim),
        ),
    )


SPACE = space_of()
UNEQUAL = space_of(((1, 2), (1, 2), (2, 3)))  # no system has other choices in the last layer
ARCH = Arch("autoformer", depth=2, mlp_ratio=(2.0, 1.5), num_heads=(1, 2), embed_dim=64)


@pytest.mark.parametrize(
    ("name", "to", "preset"),
    [
        ("autoformer-tiny", "nni", "nni-autoformer-tiny"),
        ("autoformer-small", "nni", "nni-autoformer-small"),
        ("autoformer-base", "nni", "nni-autoformer-base"),
        ("mmrazor-autoformer-base", "nni", "nni-autoformer-base"),
        ("autoformer-base", "mmrazor", "mmrazor-autoformer-base"),
        ("autoformer-tiny", "mmrazor", "autoformer-tiny-wide"),  # of which MMRazor has no preset
        ("autoformer-base", "cream", "autoformer-base"),
    ],
)
def test_of_a_published_architecture(name: str, to: str, preset: str) -> None:
    found = default_space(vitnas.arch(name), to)
    assert found is not None
    assert found.name == preset


def test_every_published_autoformer_has_a_space() -> None:
    for entry in entries().values():
        for to in ("cream", "mmrazor", "nni"):
            found = default_space(entry.arch, to)
            assert (found is not None) == (entry.arch.family == "autoformer"), entry.name
            assert found is None or entry.arch in found


def test_a_known_space_comes_first_if_it_will_do() -> None:
    assert default_space(ARCH, "nni", SPACE) == SPACE
    assert default_space(ARCH, "nni") is None
    for other in (UNEQUAL, space_of(embed_dim=(48,)), vitnas.space("vitas-nano")):
        assert default_space(ARCH, "nni", other) is None
    published = vitnas.arch("autoformer-tiny")
    assert default_space(published, "nni", SPACE) == vitnas.space("nni-autoformer-tiny")


def test_what_a_model_folder_records() -> None:
    told = SPACE.to_dict()
    assert recorded_space({"space": told, "provenance": {}}) == SPACE
    assert recorded_space({"provenance": {"space": told}}) == SPACE
    for record in ({}, {"space": None}, {"provenance": {"space": None}}, {"provenance": "mine"}):
        assert recorded_space(record) is None
    with pytest.raises(InputError, match="not a search space record"):
        recorded_space({"provenance": {"space": {"family": 3}}})


def randomised(net: Any) -> Any:
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


@pytest.fixture
def model() -> Any:
    return randomised(vitnas.build(ARCH, 5, 32))


def folder_of(model: Any, path: Path, space: Space) -> Path:
    """Save a model as `vitnas extract` does."""
    return vitnas.save(model, path, provenance={"space": space.to_dict()})


def read_back(system: Any, path: Path, config: bool) -> Any:
    state = torch.load(path, weights_only=True)
    given = json.loads(path.with_suffix(".config.json").read_text()) if config else {}
    return system.load(state.get("state_dict", state), given).eval()


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize("system", [mmrazor, nni])
def test_a_model_folder_is_written_in_the_space_that_it_was_found_in(
    system: Any, config: bool, model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(model, tmp_path / "model", SPACE)
    to = system.__name__.rpartition(".")[2]
    path = vitnas.convert(folder, tmp_path / "theirs.pth", to=to)
    (described,) = tmp_path.glob("theirs.arch.*")
    assert yaml.safe_load(described.read_text()) == system.foreign(ARCH, SPACE)
    assert json.loads((tmp_path / "theirs.config.json").read_text()) == system.arguments(
        model, SPACE
    )
    back = read_back(system, path, config)
    assert Arch.from_dict(back.vitnas_config["arch"]) == ARCH
    with torch.no_grad():
        assert torch.equal(back(IMAGES), model(IMAGES))
    assert not caplog.records


def test_mmrazors_tokens_are_as_wide_as_its_supernet(model: Any, tmp_path: Path) -> None:
    folder = folder_of(model, tmp_path / "model", SPACE)
    path = vitnas.convert(folder, tmp_path / "theirs.pth", to="mmrazor")
    state = torch.load(path, weights_only=True)["state_dict"]
    tokens = [state[f"architecture.backbone.{name}"] for name in ("cls_token", "pos_embed")]
    assert [token.shape[-1] for token in tokens] == [80, 80]
    assert not any(token[..., 64:].any() for token in tokens)


def test_a_subnet_is_written_in_its_supernets_space(tmp_path: Path) -> None:
    """Also after `convert` took it out into a folder of its own."""
    net = randomised(Supernet(SPACE, 5, 32))
    whole = vitnas.convert(vitnas.save(net, tmp_path / "net"), tmp_path / "whole.pth", to="mmrazor")
    at_once = vitnas.convert(tmp_path / "net", tmp_path / "1.pth", to="nni", arch=ARCH)
    folder = vitnas.convert(whole, tmp_path / "model", space=SPACE, arch=ARCH)
    later = vitnas.convert(folder, tmp_path / "2.pth", to="nni")
    for path in (at_once, later):
        sample = json.loads(path.with_suffix(".arch.json").read_text())
        assert sample == nni.foreign(ARCH, SPACE)


def test_the_space_that_is_given_comes_first(model: Any, tmp_path: Path) -> None:
    folder, wider = folder_of(model, tmp_path / "model", SPACE), space_of(embed_dim=(64, 128))
    vitnas.convert(folder, tmp_path / "theirs.pth", to="mmrazor", space=wider)
    config = json.loads((tmp_path / "theirs.config.json").read_text())
    assert config["arch_setting"]["embed_dims"] == [64, 128]


@pytest.mark.parametrize("known", [UNEQUAL, space_of(embed_dim=(48,))])
def test_without_a_space_the_missing_layers_are_told(
    known: Space, model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(model, tmp_path / "model", known)
    vitnas.convert(folder, tmp_path / "theirs.pth", to="mmrazor")
    assert [record.getMessage() for record in caplog.records] == [
        "MMRazor's loader wants the layers beyond depth 2 that its supernet has; they are left "
        "out, as no search space is known: name it (--space; in Python space=)"
    ]
    described = yaml.safe_load((tmp_path / "theirs.arch.yaml").read_text())
    assert described == mmrazor.foreign(ARCH)
    caplog.clear()
    vitnas.convert(folder, tmp_path / "nnis.pth", to="nni")  # which does without
    assert not caplog.records


@pytest.mark.parametrize("width", [None, 192])
def test_the_official_yaml_has_the_supernet_that_the_weights_lie_in(
    width: int | None, tmp_path: Path
) -> None:
    """The space of a folder changes nothing: weights lie in the smallest supernet with room."""
    options: Any = {"fixed_attn_dim": width, "relative_position": width is None}
    model = randomised(vitnas.build(ARCH, 5, 32, **options))
    folder = folder_of(model, tmp_path / "model", space_of(embed_dim=(64, 128)))
    path = vitnas.convert(folder, tmp_path / "theirs.pth", to="cream")
    weights = torch.load(path, weights_only=True)["model"]
    wanted = cream.dump(model)
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    record = yaml.safe_load((tmp_path / "theirs.arch.yaml").read_text())
    assert cream.arch(record) == ARCH
    around = {"EMBED_DIM": width or 128, "DEPTH": 2, "NUM_HEADS": 2, "MLP_RATIO": 2}
    assert record["SUPERNET"] == around
    config = json.loads((tmp_path / "theirs.config.json").read_text())
    assert {name.upper(): config[name] for name in config if name.upper() in around} == around


def test_mmrazors_text_is_json_and_yaml(model: Any, tmp_path: Path) -> None:
    folder = folder_of(model, tmp_path / "model", SPACE)
    vitnas.convert(folder, tmp_path / "theirs.pth", to="mmrazor")
    text = (tmp_path / "theirs.arch.yaml").read_text()
    assert json.loads(text) == yaml.safe_load(text) == mmrazor.foreign(ARCH, SPACE)

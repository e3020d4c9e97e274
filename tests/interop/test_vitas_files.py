"""Official ViTAS checkpoints: as folders, with released YAMLs, and known by their widths alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.folder import read_config
from vitnas.interop import vitas

from .recorded_vitas import TOY, case, encoding, released, toy_state


def checkpoint(path: Path, state: dict[str, Tensor]) -> Path:
    """Write weights as the official training does."""
    model = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 300, "model": model, "optimizer": {"state": {}}}, path)
    return path


def test_a_network_becomes_a_model_folder(tmp_path: Path) -> None:
    recorded = case("vitas_searched_noid")
    path = checkpoint(tmp_path / "recent_ckpt.pth", recorded.weights)
    folder = vitnas.convert(path, tmp_path / "model", "vitas", config=recorded.config)
    model = vitnas.load(folder)
    with torch.no_grad():
        logits = model(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits"], atol=1e-5, rtol=0)
    assert read_config(folder)["provenance"]["source"] == "vitas"
    back = vitnas.convert(folder, tmp_path / "back.pth", to="vitas")
    again = vitnas.load(vitnas.convert(back, tmp_path / "again", config=recorded.config))
    assert all(map(torch.equal, again.parameters(), model.parameters()))
    with pytest.raises(
        InputError, match="don't show the numbers of heads, and these are of no pub"
    ):
        vitnas.convert(path, tmp_path / "unknown")


def test_a_supernet_becomes_a_folder_that_has_the_official_logits(tmp_path: Path) -> None:
    recorded = case("vitas_supernet_qkv1")
    path = checkpoint(tmp_path / "ckpt.pth", recorded.weights)
    net: Any = vitnas.load(vitnas.convert(path, tmp_path / "net", config=recorded.config))
    subnet = recorded.read("subnets")[1]
    arch, images = vitas.arch(encoding(recorded, subnet), faithful=True), recorded.tensors["input"]
    one = vitnas.load(vitnas.convert(path, tmp_path / "one", config=recorded.config, arch=arch))
    with torch.no_grad():
        right, left = net(images, arch, side="right"), one(images)
    torch.testing.assert_close(right, recorded.tensors["logits.1.right"], atol=1e-5, rtol=0)
    torch.testing.assert_close(left, recorded.tensors["logits.1.left"], atol=1e-5, rtol=0)


NARROW = {**TOY, "net_id": "0 1 4 0 0 0 4 2 5 2 5 2 5"}


def network_state(config: dict[str, Any]) -> dict[str, Tensor]:
    """Return random weights of the network of an encoding."""
    return vitas.dump(vitnas.build(vitas.arch(config), 5, 16, attn_scale="embed"))


@pytest.mark.parametrize("flags", [(True, True), (False, True), (False, False)])
def test_weights_tell_what_of_a_released_yaml_they_are_of(
    tmp_path: Path, flags: tuple[bool, bool]
) -> None:
    given = released({**TOY, "qkv": 2}, NARROW, flags=flags)
    weights = {"network": network_state(NARROW), "supernet": toy_state(2)}
    for name, state in weights.items():
        path = checkpoint(tmp_path / f"{name}.pth.tar", state)
        net = vitnas.load(vitnas.convert(path, tmp_path / name, config=given))
        assert isinstance(net, vitnas.Supernet) == (name == "supernet")
        part = given["model"] if name == "supernet" else given["test"]["model"]
        alone = vitnas.load(vitnas.convert(path, tmp_path / f"{name}-alone", config=part))
        assert type(net) is type(alone)
        ours = net.state_dict()
        assert all(torch.equal(ours[key], tensor) for key, tensor in alone.state_dict().items())


def test_the_shapes_choose_between_the_networks_of_a_released_yaml() -> None:
    top = {**TOY, "qkv": 2}
    wider = {**TOY, "net_id": "0 1 4 0 0 0 4 2 5 2 5 2 6"}
    for retrain, test in ((NARROW, wider), (wider, NARROW)):
        for config in (NARROW, wider):
            net: Any = vitas.load(network_state(config), released(top, retrain, test))
            assert Arch.from_dict(net.vitnas_config["arch"]) == vitas.arch(config)
    other_heads = {**TOY, "net_id": "0 0 4 0 0 0 4 2 5 2 5 2 5"}
    with pytest.raises(InputError, match=r"retrain\.model and test\.model are different networks"):
        vitas.load(network_state(NARROW), released(top, NARROW, other_heads))


def test_weights_that_fit_no_part_of_a_released_yaml_are_compared_with_the_nearest() -> None:
    state = network_state(NARROW)
    lacking = {name: one for name, one in state.items() if "norm1.bias" not in name}
    with pytest.raises(InputError, match=r"config; missing: \S+norm1\.bias, \S+norm1\.bias$"):
        vitas.load(lacking, released({**TOY, "qkv": 2}, NARROW))
    with pytest.raises(InputError, match="net_id: it has 2 numbers, 3 slots need 13"):
        vitas.load(state, released({**TOY, "qkv": 2}, {**TOY, "net_id": "0 1"}))
    lacking = toy_state(2)
    del lacking["net.backbone_Norm_Norm_0.0.bias"]
    with pytest.raises(InputError, match=r"config; missing: net\.backbone_Norm_Norm_0\.0\.bias$"):
        vitas.load(lacking, released({**TOY, "qkv": 2}, NARROW))


@pytest.mark.parametrize("name", ["vitas-a", "vitas-c", "vitas-f"])
def test_published_networks_are_known_by_their_widths(name: str) -> None:
    arch = vitnas.arch(name)
    with torch.device("meta"):
        state = vitas.dump(vitnas.build(arch, num_classes=7))
    config = vitas.infer_config(state)
    assert vitas.arch(config) == arch
    assert config["backbone"]["FC"][4] == 7
    stems = {key.removeprefix("net."): tensor for key, tensor in state.items()}
    assert vitas.infer_config(stems) == config


@pytest.mark.parametrize(("name", "qkv"), [("vitas", 2), ("vitas-c", 1), ("vitas-f", 2)])
def test_official_supernets_are_known_by_their_widths(name: str, qkv: int) -> None:
    space = vitnas.space(name)
    widths = ("depth", "attn_dim", "mlp_dim", "embed_dim")
    widest = space.with_values(**{gene: [max(space[gene].values)] for gene in widths})
    scale = (widest.largest.embed_dim // 3) ** -0.5
    quirks: Any = {"attn_scale": scale, "joint_qk": True, "last_position": True}
    with torch.device("meta"):
        net = vitnas.Supernet(widest, 7, sharing="bilateral", qkv=qkv, **quirks)
        state = vitas.dump(net)
    assert vitas.infer_config(state) == vitas.arguments(net)
    block = vitas.infer_config(state)["backbone"]["Block"]
    assert block[0] == max(space["depth"].values)
    assert block[2] == [3, 6, 12, 16]

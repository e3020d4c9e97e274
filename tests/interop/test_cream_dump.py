"""What is written for the official AutoFormer: supernets, static models inside them, refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import cream
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

from .recorded import NAMES, case
from .test_cream import SUBNETS, net_of


@pytest.mark.parametrize("name", NAMES)
def test_dump_gives_back_the_same_state(name: str) -> None:
    recorded, net = case(name), net_of(name)
    dumped = cream.dump(net)
    assert dumped.keys() == recorded.weights.keys()
    for key, tensor in dumped.items():
        assert torch.equal(tensor, recorded.weights[key]), key
    own = {parameter.data_ptr() for parameter in net.parameters()}
    assert not own & {tensor.data_ptr() for tensor in dumped.values()}


SPACE = Space(
    "autoformer",
    (
        Choice("depth", (1, 2)),
        Choice("mlp_ratio", (1.0, 2.0), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (64, 128)),
    ),
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_dim": 32}, "the official AutoFormer can't hold this net: head_dim is 32, not 64"),
        ({"img_size": (16, 24)}, "img_size is not square"),
        ({"init_values": 0.1}, "init_values is 0.1, not None"),
        ({"sharing": "suffix"}, "the official AutoFormer shares by prefix, not suffix"),
        (
            {"sharing": {"*": "legacy", "hidden": "independent", "embed": "centre"}},
            "the official AutoFormer shares by prefix, not centre, independent",
        ),
        ({"post_norm": True}, "final_norm is True, not False"),
        ({"final_norm": False}, "final_norm is False, not True"),
        ({"qk_scale": 0.3}, "qk_scale is 0.3, not None"),
        (
            {"fixed_attn_dim": 64, "relative_position": False},
            "embed_dim is 128, above the fixed q-k-v width 64",
        ),
    ],
)
def test_nets_that_the_original_cannot_hold_are_not_dumped(
    options: dict[str, Any], message: str
) -> None:
    net = Supernet(SPACE, 3, **{"sharing": "legacy", "img_size": 16, "patch_size": 8, **options})
    with pytest.raises(InputError, match=re.escape(message)):
        cream.dump(net)


@pytest.mark.parametrize(
    "largest",
    [
        SPACE.largest.replace(num_heads=(2, 1)),
        SPACE.largest.replace(embed_dim=136),
        SPACE.largest.replace(embed_dim=30, num_heads=(1, 3), mlp_ratio=(1.1, 2)),
    ],
)
def test_supernets_of_other_widths_are_written_into_an_official_one(largest: Arch) -> None:
    net = Supernet(None, 3, 16, sharing="legacy", largest=largest, patch_size=8).eval()
    config = cream.arguments(net)
    assert config["embed_dim"] == 64 * config["num_heads"] >= largest.embed_dim
    back = cream.load(cream.dump(net), config).eval()
    images = torch.randn(2, 3, 16, 16)
    smaller = largest.replace(embed_dim=20, num_heads=(1, 1), mlp_ratio=(1, 0.5))
    for arch in (largest, smaller):
        assert torch.equal(back(images, arch), net(images, arch))


@pytest.mark.parametrize(
    "options",
    [
        {"sharing": "legacy", "drop_path_rate": 0.1},
        {"sharing": "prefix", "qkv_bias": False},
        {"sharing": "prefix", "fixed_attn_dim": 128, "relative_position": False},
    ],
)
def test_our_own_nets_of_the_official_form_go_there_and_back(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"img_size": 16, "patch_size": 8, "num_classes": 3}
    net = Supernet(SPACE.with_values(num_heads=[2]), **given, **options).eval()
    config = {
        **given,
        "embed_dim": 128,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "gp": True,
        "relative_position": options.get("relative_position", True),
        "change_qkv": "fixed_attn_dim" not in options,
        "qkv_bias": options.get("qkv_bias", True),
    }
    back = cream.load(cream.dump(net), config).eval()
    images = torch.randn(2, 3, 16, 16)
    for seed in range(3):
        arch = SPACE.with_values(num_heads=[2]).sample(seed)
        assert torch.equal(back(images, arch), net(images, arch))


@pytest.mark.parametrize(("name", "i"), SUBNETS)
def test_a_static_model_is_written_into_an_official_supernet(name: str, i: int) -> None:
    recorded, net = case(name), net_of(name)
    arch = cream.arch(recorded.subnets[i])
    model = net.extract(arch)
    images = recorded.tensors["input"]
    largest = net.largest
    around = Space("autoformer", tuple(Choice(gene, _values(arch, largest, gene), level)
                   for gene, level in GENE_LEVELS.items()))  # fmt: skip
    for space in (None, around):
        config = cream.arguments(model, space)
        back = cream.load(cream.dump(model, space=space), config).eval()
        assert back.largest == largest or space is None
        with torch.no_grad():
            assert torch.equal(back(images, arch), model(images))


GENE_LEVELS: dict[str, Any] = {
    "depth": "net",
    "mlp_ratio": "block",
    "num_heads": "block",
    "embed_dim": "net",
}


def _values(arch: Arch, largest: Arch, gene: str) -> tuple[Any, ...]:
    both: set[Any] = set()
    for one in (arch, largest):
        value: Any = one[gene]
        both |= set(value) if isinstance(value, tuple) else {value}
    return tuple(sorted(both))


def test_a_static_model_must_be_in_the_space_it_is_written_for() -> None:
    model = vitnas.build(SPACE.largest, 3, 16, patch_size=8)
    with pytest.raises(InputError, match=r"embed_dim is 128, the space allows 64"):
        cream.dump(model, space=SPACE.with_values(embed_dim=[64]))


def test_nested_biases_are_lost_only_where_heads_vary_and_only_on_agreement() -> None:
    options: dict[str, Any] = {"img_size": 16, "patch_size": 8}
    net = Supernet(SPACE, 3, **options).eval()
    assert cream.lost(net) == []  # biases start at zero
    for name, parameter in net.named_parameters():
        if name.endswith("qkv.bias"):
            torch.nn.init.normal_(parameter)
    assert "qkv bias" in cream.lost(net)[0]
    with pytest.raises(InputError, match=r"can't keep all of this supernet: .* lossy=True\)$"):
        cream.dump(net)
    same = SPACE.with_values(num_heads=[2])
    assert cream.lost(net, same) == []
    back = cream.load(cream.dump(net, lossy=True), cream.arguments(net)).eval()
    images = torch.randn(2, 3, 16, 16)
    fewer = SPACE.largest.replace(num_heads=(2, 1))
    with torch.no_grad():
        assert torch.equal(back(images, SPACE.largest), net(images, SPACE.largest))
        assert (back(images, fewer) - net(images, fewer)).abs().max() > 0.01


def test_only_autoformer_nets_are_dumped() -> None:
    vit = Supernet(None, 3, 16, largest=Arch("vit", **SPACE.largest), patch_size=8)
    with pytest.raises(InputError, match="the official AutoFormer format holds AutoFormer nets"):
        cream.dump(vit)
    with pytest.raises(InputError, match="AutoFormer format holds AutoFormer nets of vitnas only"):
        cream.dump(nn.Linear(1, 1))

"""MMRazor's AutoFormer: recorded logits through every path, round trips, and every refusal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import cream, mmrazor, nni
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

from .damage import damaged
from .recorded_nni import MMRAZOR, case

ARGUMENTS = ("arch_setting", "img_size", "patch_size", "max_relative_position", "num_classes")
CONFIG = {name: case(MMRAZOR).metadata[name] for name in ARGUMENTS}
SUBNETS = case(MMRAZOR).metadata["subnets"]
WEIGHTS = case(MMRAZOR).weights()
IMAGES, TENSORS = case(MMRAZOR).tensors["input"], case(MMRAZOR).tensors
SETTING = CONFIG["arch_setting"]
SPACE = Space(
    "autoformer",
    (
        Choice("depth", tuple(SETTING["depth"])),
        Choice("mlp_ratio", tuple(SETTING["mlp_ratios"]), "block"),
        Choice("num_heads", tuple(SETTING["num_heads"]), "block"),
        Choice("embed_dim", tuple(SETTING["embed_dims"])),
    ),
)


def supernet(space: Space | None = None) -> Supernet:
    net = mmrazor.load(WEIGHTS, CONFIG, space)
    assert isinstance(net, Supernet)
    return net.eval()


def assert_recorded(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("i", range(len(SUBNETS)))
def test_recorded_subnets_through_every_path(i: int, tmp_path: Path) -> None:
    net, arch = supernet(), mmrazor.arch(SUBNETS[i]["exported"])
    model: Any = net.extract(arch)
    with torch.no_grad():
        logits = net(IMAGES, arch)
        assert_recorded(logits, TENSORS[f"logits.{i}"])
        pooled = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
        assert_recorded(pooled, TENSORS[f"features.{i}"])
        assert torch.equal(model(IMAGES), logits)
        saved = vitnas.load(vitnas.save(net, tmp_path / "net"))
        assert torch.equal(saved(IMAGES, arch), logits)
        loaded = vitnas.load(vitnas.save(model, tmp_path / "model"))
        assert torch.equal(loaded(IMAGES), logits)
        exact = net.double()(IMAGES.double(), arch)
    bound = SUBNETS[i]["max_abs_err_vs_float64"] + 1e-7
    assert (exact - TENSORS[f"logits.{i}"]).abs().max() <= bound
    assert sum(p.numel() for p in model.parameters()) == SUBNETS[i]["true_params"]


@pytest.mark.parametrize("subnet", SUBNETS)
def test_counters_give_the_recorded_figures(subnet: dict[str, Any]) -> None:
    arch, options = mmrazor.arch(subnet["exported"]), {"num_classes": 7, "img_size": 64}
    assert cost.params(arch, **options) == subnet["true_params"]
    for name, figure in (("mmrazor", "flops"), ("mmrazor-params", "params")):
        counted = cost.convention(name, arch, **options)
        assert round(counted / 1e6, 3) == subnet["estimator"][figure]


def variants() -> dict[str, dict[str, Tensor]]:
    plain = {name.removeprefix("architecture."): tensor for name, tensor in WEIGHTS.items()}
    masks = {
        f"{name.removesuffix('weight')}mutable_attrs.in_channels.mask": torch.ones(3)
        for name in WEIGHTS
        if name.endswith("fc1.weight")
    }
    return {"bare": plain, "masks": {**WEIGHTS, **masks, "architecture.mask": torch.ones(2)}}


@pytest.mark.parametrize("name", ["bare", "masks"])
def test_without_the_prefix_and_with_masks(name: str) -> None:
    arch = mmrazor.arch(SUBNETS[2]["exported"])
    net = mmrazor.load(variants()[name], CONFIG).eval()
    with torch.no_grad():
        assert_recorded(net(IMAGES, arch), TENSORS["logits.2"])


@pytest.mark.parametrize("given", [CONFIG, {}])
@pytest.mark.parametrize("i", range(len(SUBNETS)))
def test_an_exported_subnet_keeps_the_supernets_width_of_tokens(
    i: int, given: dict[str, Any]
) -> None:
    """MMRazor leaves class token and positions as wide as the supernet's."""
    arch = mmrazor.arch(SUBNETS[i]["exported"])
    exported = mmrazor.dump(supernet().extract(arch), space=SPACE)
    tokens = (
        exported["architecture.backbone.pos_embed"],
        exported["architecture.backbone.cls_token"],
    )
    assert [token.shape[-1] for token in tokens] == [80, 80]
    own = mmrazor.load(exported, given).eval()
    assert isinstance(own, Supernet) == (i == 0)
    if isinstance(own, Supernet):
        assert own.largest == arch
        own = own.extract(arch)
    with torch.no_grad():
        assert_recorded(own(IMAGES), TENSORS[f"logits.{i}"])
    count = sum(tensor.numel() for tensor in exported.values())
    assert count == SUBNETS[i]["static_params_as_exported"]


def test_tokens_of_another_width_than_any_in_the_config_are_named() -> None:
    exported = mmrazor.dump(supernet().extract(mmrazor.arch(SUBNETS[2]["exported"])), space=SPACE)
    own = {**CONFIG, "arch_setting": {**SETTING, "embed_dims": [48, 64]}}
    with pytest.raises(InputError, match=r"cls_token is \(1, 1, 80\), expected \(1, 1, 64\)"):
        mmrazor.load(exported, own)


@pytest.mark.parametrize("alike", [True, False])
def test_a_model_comes_back_as_one_with_the_config_that_was_written(alike: bool) -> None:
    """Lists of one value each leave nothing to choose."""
    arch = mmrazor.arch(SUBNETS[2]["exported"])
    genes: dict[str, Any] = dict(arch)
    layers = {gene: genes[gene][:1] * arch.depth for gene in ("mlp_ratio", "num_heads")}
    model = supernet().extract(arch.replace(**layers) if alike else arch)
    again = mmrazor.load(mmrazor.dump(model), mmrazor.arguments(model)).eval()
    assert not isinstance(again, Supernet)
    with torch.no_grad():
        assert torch.equal(again(IMAGES), model(IMAGES))


def test_config_is_inferred_from_the_weights() -> None:
    expected = {**CONFIG, "in_channels": 3, "qkv_bias": True, "use_final_norm": True}
    del expected["arch_setting"]
    assert mmrazor.infer_config(WEIGHTS) == expected
    net = mmrazor.load(WEIGHTS, {})
    assert isinstance(net, Supernet)
    assert net.largest == supernet().largest


def test_dump_gives_back_the_same_state() -> None:
    net = supernet()
    assert net.space == SPACE
    dumped = mmrazor.dump(net)
    assert dumped.keys() == WEIGHTS.keys()
    assert all(torch.equal(dumped[key], WEIGHTS[key]) for key in WEIGHTS)
    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    assert not own & {tensor.untyped_storage().data_ptr() for tensor in dumped.values()}
    theirs = {key: value for key, value in CONFIG.items() if key != "max_relative_position"}
    assert mmrazor.arguments(net) == {**theirs, "in_channels": 3, "qkv_bias": True,
                                      "use_final_norm": True}  # fmt: skip
    free = mmrazor.arguments(mmrazor.load(WEIGHTS, {}))
    assert free["arch_setting"] == {"depth": SETTING["depth"][-1:]}
    assert isinstance(mmrazor.load(WEIGHTS, free), vitnas.Supernet)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_options_that_mmrazor_has(bias: bool, norm: bool) -> None:
    options = {"qkv_bias": bias, "final_norm": norm, "in_chans": 1}
    net = Supernet(SPACE, 4, 32, **options).eval()  # type: ignore[arg-type]
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    back = mmrazor.load(mmrazor.dump(net), mmrazor.arguments(net)).eval()
    images = torch.randn(2, 1, 32, 32)
    for seed in range(2):
        arch = SPACE.sample(seed)
        with torch.no_grad():
            assert torch.equal(back(images, arch), net(images, arch))


def test_mmrazor_and_nni_hold_the_same_supernets() -> None:
    """The tables of MMRazor reach 14 patches, those of NNI as far as the grid: 4."""
    net = supernet(SPACE)
    middle = nni.load(nni.dump(net), nni.arguments(net), SPACE).eval()
    back = mmrazor.load(mmrazor.dump(middle), mmrazor.arguments(middle)).eval()
    for i, subnet in enumerate(SUBNETS):
        arch = mmrazor.arch(subnet["exported"])
        with torch.no_grad():
            logits = net(IMAGES, arch)
            assert_recorded(logits, TENSORS[f"logits.{i}"])
            assert torch.equal(middle(IMAGES, arch), logits)
            assert torch.equal(back(IMAGES, arch), logits)


@pytest.mark.parametrize("i", range(len(SUBNETS)))
def test_subnets_become_official_ones_bit_for_bit(i: int) -> None:
    arch = mmrazor.arch(SUBNETS[i]["exported"])
    model = supernet().extract(arch)
    official = cream.load(cream.dump(model), cream.arguments(model)).eval()
    back = mmrazor.load(mmrazor.dump(official.extract(arch), space=SPACE), CONFIG).eval()
    own = back.extract(arch) if isinstance(back, Supernet) else back
    with torch.no_grad():
        logits = model.eval()(IMAGES)
        assert torch.equal(official(IMAGES, arch), logits)
        assert torch.equal(own(IMAGES), logits)


def test_an_official_supernet_is_refused_unless_the_loss_is_agreed_to() -> None:
    largest = SPACE.largest.replace(embed_dim=192)
    net = Supernet(None, 4, 32, sharing="legacy", largest=largest).eval()
    assert mmrazor.lost(net) == []  # biases start at zero
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    with pytest.raises(InputError, match="MMRazor AutoFormer format can't keep all of this super"):
        mmrazor.dump(net, space=SPACE)
    back = mmrazor.load(mmrazor.dump(net, space=SPACE, lossy=True), {}).eval()
    images = torch.randn(2, 3, 32, 32)
    fewer = SPACE.largest.replace(num_heads=(3, 2, 3))
    with torch.no_grad():
        assert torch.equal(back(images, SPACE.largest), net(images, SPACE.largest))
        assert (back(images, fewer) - net(images, fewer)).abs().max() > 1e-3


# Weights that don't fit


def test_misfitting_weights_are_listed_in_mmrazors_names() -> None:
    weights, prefix = dict(WEIGHTS), "architecture.backbone."
    del weights[f"{prefix}blocks.1.ln1.bias"], weights["architecture.head.fc.weight"]
    weights[f"{prefix}blocks.0.fc1.weight"] = weights[f"{prefix}blocks.0.fc1.weight"].t()
    weights["teacher.weight"] = torch.zeros(1)
    with pytest.raises(InputError) as caught:
        mmrazor.load(weights, CONFIG)
    assert str(caught.value) == (
        "not the official MMRazor AutoFormer of this config; missing: "
        f"{prefix}blocks.1.ln1.bias, architecture.head.fc.weight; unexpected: teacher.weight; "
        f"wrong shape: {prefix}blocks.0.fc1.weight is (80, 280), expected (280, 80)"
    )


@pytest.mark.parametrize("how", ["removed", "renamed", "transposed"])
def test_every_single_fault_is_named(how: str) -> None:
    for key, weights in damaged(WEIGHTS, how):
        with pytest.raises(InputError, match=re.escape(key)):
            mmrazor.load(weights, CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch_settings": {}}, "unknown MMRazor AutoFormer argument 'arch_settings'; did you"),
        ({"arch_setting": {"depths": [2]}}, "it must have lists of embed_dims, mlp_ratios, "),
        ({"arch_setting": {}}, "arch_setting is {}; it must have lists of embed_dims"),
        ({"arch_setting": {"depth": [2]}}, "unexpected: architecture.backbone.blocks.2.* (20 "),
        ({"arch_setting": {"depth": [4]}}, "missing: architecture.backbone.blocks.3.* (20 "),
        ({"arch_setting": {"depth": [1, 2]}}, "depth is 3, arch_setting's depth is [1, 2]"),
        ({"arch_setting": {"num_heads": [1, 2]}}, "num_heads is 3, arch_setting's num_heads is"),
        ({"arch_setting": {**SETTING, "depth": 3}}, "depth is 3; it must be a list of positive"),
        ({"arch_setting": {**SETTING, "depth": [10**9]}}, "depth is 1000000000, not from 1 to"),
        ({"arch_setting": {**SETTING, "embed_dims": []}}, "embed_dims is []; it must be a list"),
        ({"arch_setting": {**SETTING, "mlp_ratios": [None]}}, "mlp_ratios is [None]; it must be"),
        ({"act_cfg": {"type": "ReLU"}}, "act_cfg is {'type': 'ReLU'}, not GELU"),
        ({"norm_cfg": {"type": "BN"}}, "norm_cfg is {'type': 'BN'}, not DynamicLayerNorm"),
        ({"img_size": 32}, "wrong shape: architecture.backbone.pos_embed is (1, 17, 80), expected"),
        ({"qkv_bias": False}, "unexpected: architecture.backbone.blocks.0.attn.w_ks.bias, "),
        ({"use_final_norm": False}, "unexpected: architecture.backbone.ln.bias, architecture"),
        (
            {
                "arch_setting": {
                    **SETTING,
                    "embed_dims": [48],
                    "num_heads": [1, 2, 4],
                    "depth": [1, 2],
                }
            },
            "not the MMRazor AutoFormer of this config; embed_dim is 80, arch_setting's embed_dims "
            "is [48]; num_heads is 3, arch_setting's num_heads is [1, 2, 4]; depth is 3, "
            "arch_setting's depth is [1, 2]",
        ),
        ({"arch_setting": {**SETTING, "embed_dims": [80.5]}}, "arch_setting's embed_dims is [80"),
    ],
)
def test_configs_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        mmrazor.load(WEIGHTS, {**CONFIG, **changes})


def test_inert_arguments_are_accepted() -> None:
    act, norm = {"type": "GELU"}, {"type": "mmrazor.DynamicLayerNorm"}
    mmrazor.load(WEIGHTS, {**CONFIG, "drop_rate": 0.1, "act_cfg": act, "norm_cfg": norm})
    mmrazor.load(WEIGHTS, {**CONFIG, "arch_setting": None})


def test_something_else() -> None:
    with pytest.raises(InputError, match="MMRazor AutoFormer config: it must be a mapping"):
        mmrazor.load({}, 3)  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"weights: backbone\.patch_embed\.projection.weight, back"
    ):
        mmrazor.load({"weight": torch.zeros(1)}, {})


def test_a_subnet_serves_no_space() -> None:
    exported = mmrazor.dump(supernet().extract(mmrazor.arch(SUBNETS[2]["exported"])))
    with pytest.raises(InputError, match="weights are one network: leave the space out"):
        mmrazor.load(exported, CONFIG, SPACE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 8}, "its patches are 16 pixels whatever its patch_size says, not 8"),
        ({"img_size": 256, "max_relative_position": 15}, "reach 14 patches, not 15"),
        ({"pool": "token"}, "pool is token, not avg"),
        ({"abs_pos": False}, "abs_pos is False, not True"),
        ({"relative_position": False}, "relative_position is False, not True"),
        ({"qk_scale": 0.3}, "qk_scale is 0.3, not None"),
        ({"img_size": (32, 64)}, "img_size is not square"),
        ({"sharing": "centre"}, "the MMRazor AutoFormer shares by prefix, not centre"),
    ],
)
def test_nets_that_mmrazor_cannot_hold_are_not_dumped(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        mmrazor.dump(Supernet(SPACE, **{"num_classes": 3, "img_size": 32, **options}))


def test_clipped_tables_are_extended() -> None:
    """Distances beyond the reach have its last entry, in a longer table of their own."""
    net = Supernet(SPACE, 3, 64, max_relative_position=2).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    back = mmrazor.load(mmrazor.dump(net), {}).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(back(images, SPACE.largest), net(images, SPACE.largest))


# Descriptions


@pytest.mark.parametrize("subnet", SUBNETS)
def test_descriptions_round_trip(subnet: dict[str, Any]) -> None:
    exported = subnet["exported"]
    arch = mmrazor.arch(exported)
    assert mmrazor.foreign(arch, SPACE) == exported
    assert mmrazor.arch(mmrazor.foreign(arch)) == arch
    assert mmrazor.arch(subnet["arch"]) == arch
    assert mmrazor.arch(yaml.safe_dump(exported)) == arch
    assert mmrazor.arch(json.dumps(exported)) == arch
    for prefix in ("", "backbone.", "module.architecture.backbone."):
        renamed = {k.replace("architecture.backbone.", prefix): v for k, v in exported.items()}
        assert mmrazor.arch(renamed) == arch
        assert mmrazor.foreign(arch, SPACE, prefix) == renamed
    plain = {name: value["chosen"] for name, value in exported.items()}
    assert mmrazor.arch(plain) == arch
    assert mmrazor.arch({name: float(value) for name, value in plain.items()}) == arch
    assert mmrazor.arch({**subnet["arch"], "depth": float(subnet["arch"]["depth"])}) == arch


def test_copies_of_values_hold_anything() -> None:
    """As in the published YAML, which has 64 and 10, 3.5 and 576 there."""
    exported = {
        name: {"chosen": 576} if "middle_channels" in name or "q_embed_dims" in name else value
        for name, value in SUBNETS[2]["exported"].items()
    }
    assert mmrazor.arch(exported) == mmrazor.arch(SUBNETS[2]["exported"])


EXPORTED = SUBNETS[1]["exported"]
PREFIX = "architecture.backbone."


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in EXPORTED.items() if key != PREFIX + name}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (3, "MMRazor AutoFormer architecture: it must be a mapping, got 3"),
        ({}, "neither mutable_depth nor embed_dim, mlp_ratio, num_heads, depth is there"),
        (without("mutable_embed_dims"), "architecture.backbone.mutable_embed_dims missing"),
        (without("blocks.1.attn.mutable_attrs.num_heads"), "blocks.1.attn.mutable_attrs.num_heads"),
        ({**EXPORTED, PREFIX + "mutable_depth": {"chosen": "2"}}, "depth is '2', not a whole"),
        ({**EXPORTED, PREFIX + "mutable_depth": {"chosen": 2.5}}, "depth is 2.5, not a whole"),
        ({**EXPORTED, PREFIX + "mutable_depth": {"choices": 2}}, "it needs `chosen`"),
        ({**EXPORTED, "mutable_depth": 2}, "mutable_depth stands several times"),
        ({**EXPORTED, PREFIX + "mutable_embed_dims": {"chosen": -3}}, "embed_dim is -3, it must"),
    ],
)
def test_malformed_descriptions_are_refused(record: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        mmrazor.arch(record)


def test_descriptions_of_what_mmrazor_lacks_are_refused() -> None:
    with pytest.raises(InputError, match="the MMRazor AutoFormer has no vit architectures"):
        mmrazor.foreign(Arch("vit", **SPACE.largest))
    with pytest.raises(InputError, match="the space allows 48, 64, 80"):
        mmrazor.foreign(SPACE.largest.replace(embed_dim=50), SPACE)

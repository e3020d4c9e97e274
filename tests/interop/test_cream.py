"""Official AutoFormer nets: recorded logits, the round trips, and every refusal."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from torch import Tensor

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import cream
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing import maps, models

from .genes import Genes, genes
from .recorded import COUNTS, NAMES, WIDE, case

SUBNETS = [(name, i) for name in NAMES for i in range(3)]


def net_of(name: str) -> Supernet:
    recorded = case(name)
    return cream.load(recorded.weights, recorded.config).eval()


def assert_official(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


def features(model: Any, images: Tensor) -> Tensor:
    """Return what the head of a static model receives."""
    pooled: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
    return pooled


@pytest.mark.parametrize(("name", "i"), SUBNETS)
def test_every_recorded_subnet_through_every_path(name: str, i: int, tmp_path: Path) -> None:
    recorded, net = case(name), net_of(name)
    arch = cream.arch(recorded.subnets[i])
    images, logits = recorded.tensors["input"], recorded.tensors[f"logits.{i}"]
    extracted = net.extract(arch)
    with torch.no_grad():
        assert_official(net(images, arch), logits)
        assert_official(extracted(images), logits)
        assert_official(features(extracted, images), recorded.tensors[f"features.{i}"])
        loaded = vitnas.load(vitnas.save(extracted, tmp_path / "model"))
        assert torch.equal(loaded(images), extracted(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_supernet_keeps_the_official_logits(name: str, tmp_path: Path) -> None:
    recorded = case(name)
    net = vitnas.load(vitnas.save(net_of(name), tmp_path / "net"))
    for i, subnet in enumerate(recorded.subnets):
        with torch.no_grad():
            logits = net(recorded.tensors["input"], cream.arch(subnet))
        assert_official(logits, recorded.tensors[f"logits.{i}"])


def test_recordings_cover_shallower_subnets_and_fewer_heads() -> None:
    """What `legacy` is for; without such subnets the tests above could not tell."""
    shallow = [
        name for name in NAMES for s in case(name).subnets
        if s["layer_num"] < case(name).config["depth"]
    ]  # fmt: skip
    fewer = [
        name for name in NAMES for s in case(name).subnets
        if min(s["num_heads"]) < case(name).config["num_heads"]
    ]  # fmt: skip
    assert len(set(shallow)) >= 3
    assert {"autoformer_gp_rel_cqkv_abs_h3", "autoformer_cls_norel_noqkv_abs"} <= set(fewer)


def test_nested_biases_would_give_other_logits() -> None:
    """The flat bias matters: without it a subnet of fewer heads differs far beyond rounding."""
    recorded, net = case("autoformer_gp_rel_cqkv_abs_h3"), net_of("autoformer_gp_rel_cqkv_abs_h3")
    options = net.config.to_dict()
    nested = Supernet(None, largest=net.largest, sharing="prefix", **options).eval()
    nested.load_state_dict(net.state_dict())
    archs = [cream.arch(subnet) for subnet in recorded.subnets]
    arch = next(arch for arch in archs if min(arch.num_heads) < 3)
    with torch.no_grad():
        off = nested(recorded.tensors["input"], arch) - net(recorded.tensors["input"], arch)
    assert off.abs().max() > 0.1


@pytest.mark.parametrize(("name", "i"), SUBNETS)
def test_params_are_the_official_count(name: str, i: int) -> None:
    recorded = case(name)
    net, subnet = net_of(name), recorded.subnets[i]
    arch = cream.arch(subnet)
    counted = cost.params(arch, **net.config.to_dict())
    assert counted == sum(parameter.numel() for parameter in net.extract(arch).parameters())
    absent = 0 if net.config.abs_pos else net.config.tokens * arch.embed_dim
    assert counted == subnet["official_sampled_params_numel"] - absent
    if net.config.abs_pos and net.config.max_relative_position == 14:
        official = cost.convention("cream", arch, **net.config.to_dict())
        assert official == pytest.approx(subnet["official_get_complexity"], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_imported_nets_conform(name: str) -> None:
    recorded = case(name)
    config = recorded.config
    heads = tuple(range(1, config["num_heads"] + 1)) if config["change_qkv"] else (2,)
    space = Space(
        "autoformer",
        (
            Choice("depth", tuple(range(1, config["depth"] + 1))),
            Choice("mlp_ratio", (1.0, config["mlp_ratio"]), "block"),
            Choice("num_heads", heads, "block"),
            Choice("embed_dim", (64, config["embed_dim"])),
        ),
    )
    net = cream.load(recorded.weights, config, space).eval()
    images = recorded.tensors["input"][:1]
    archs = [space.smallest, space.sample(1), space.sample(2)]
    models.check_bit_identical(net, archs, images)
    models.check_gradients_outside_slice(net, archs, images)
    models.check_params(net, archs)
    axes = ["heads", "hidden"] if config["change_qkv"] else ["hidden"]
    hold = ["embed_dim"] if config["change_qkv"] else ["embed_dim", "num_heads"]
    maps.check_masking(net, archs, images, axes, hold)
    maps.check_symmetry(net, images, ["embed", *axes])


@pytest.mark.parametrize("name", NAMES)
def test_config_is_inferred_from_the_weights(name: str) -> None:
    recorded = case(name)
    if not recorded.config["abs_pos"]:
        with pytest.raises(InputError, match="the weights have no pos_embed to read the image"):
            cream.infer_config(recorded.weights)
        return
    inferred = cream.infer_config(recorded.weights)
    unseen = {"gp": True, "change_qkv": True, "relative_position": True}
    expected = {**recorded.config, **unseen}
    assert inferred == {key: expected[key] for key in inferred}


def test_weights_of_something_else_have_no_config() -> None:
    with pytest.raises(InputError, match=r"not official AutoFormer weights: .*cls_token.* missing"):
        cream.infer_config({"weight": torch.zeros(1)})


@pytest.mark.parametrize("size", "TSB")
def test_training_draws_the_official_architectures(size: str) -> None:
    name = {"T": "tiny", "S": "small", "B": "base"}[size]
    recorded = COUNTS["first_three_training_samples_with_python_random_seed_0"][size]
    rng = random.Random(0)
    drawn = [vitnas.space(f"autoformer-{name}").sample(rng) for _ in recorded]
    assert drawn == [cream.arch(subnet) for subnet in recorded]


@given(genes())
def test_descriptions_round_trip(drawn: Genes) -> None:
    depth, ratios, heads, width = drawn
    theirs = {
        "layer_num": depth,
        "mlp_ratio": ratios,
        "num_heads": heads,
        "embed_dim": [width] * depth,
    }
    arch = cream.arch(theirs)
    assert cream.foreign(arch) == theirs
    assert cream.arch(cream.foreign(arch)) == arch


def test_a_subnet_yaml_is_read_too() -> None:
    record = {
        "RETRAIN": {
            "MLP_RATIO": [3.5, 4],
            "NUM_HEADS": [3, 4],
            "DEPTH": 2,
            "EMBED_DIM": 192,
        },
        "SUPERNET": {},
    }
    arch = Arch("autoformer", depth=2, mlp_ratio=(3.5, 4), num_heads=(3, 4), embed_dim=192)
    assert cream.arch(record) == arch


def test_lists_longer_than_the_depth_are_cut() -> None:
    record = {
        "layer_num": 2,
        "mlp_ratio": [4] * 14,
        "num_heads": [3] * 14,
        "embed_dim": [192] * 14,
    }
    assert cream.arch(record).num_heads == (3, 3)


GENES = {"layer_num": 2, "mlp_ratio": [4, 4], "num_heads": [3, 4], "embed_dim": [192, 192]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "it must be a mapping, got []"),
        ({"RETRAIN": 3}, "it must be a mapping, got 3"),
        ({}, "layer_num, embed_dim, num_heads, mlp_ratio missing"),
        ({**GENES, "layer_num": "2"}, "depth is '2', not a whole number"),
        ({**GENES, "embed_dim": [192, 216]}, "embed_dim is [192, 216]; it must be the same in all"),
        ({**GENES, "embed_dim": [192]}, "embed_dim is [192]; it must be the same in all 2 layers"),
        ({**GENES, "num_heads": [3]}, "num_heads has 1 values, the depth is 2"),
        ({**GENES, "mlp_ratio": 4}, "mlp_ratio is 4, it must be 2 values, one a layer"),
        ({**GENES, "num_heads": [3, None]}, "gene num_heads is None"),
        ({**GENES, "num_heads": [3, 0]}, "num_heads is (3, 0), it must be positive"),
    ],
)
def test_malformed_descriptions_are_refused(record: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cream.arch(record)


def test_descriptions_of_what_the_original_lacks_are_refused() -> None:
    with pytest.raises(InputError, match="the official AutoFormer has no vit architectures"):
        cream.foreign(Arch("vit", **cream.arch(GENES)))
    with pytest.raises(InputError, match="has no gene head_dim, patch_size in its subnets"):
        cream.foreign(vitnas.space("autoformer-digits").smallest)


NAME = "autoformer_cls_norel_cqkv_abs"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 2}, "of this config; unexpected: blocks.2.* (12 tensors)"),
        ({"num_classes": 9}, "wrong shape: head.bias is (10,), expected (9,), head.weight"),
        ({"relative_position": True}, "of this config; missing: blocks.0.attn.rel_pos_embed_k"),
        ({"embed_dim": None}, "config: embed_dim is None, it must be a whole number"),
        ({"depht": 3}, "unknown official AutoFormer argument 'depht'; did you mean 'depth'?"),
        ({"scale": True}, "official AutoFormer config: scale=True is not supported"),
        ({"qk_scale": 0.1}, "official AutoFormer config: qk_scale=0.1 is not supported"),
        ({"pre_norm": False}, "of this config; unexpected: norm.bias, norm.weight"),
        ({"num_heads": 3}, "with change_qkv, embed_dim must be 64 times num_heads, got 128 and 3"),
        ({"gp": True, "img_size": 33}, "img_size 33x33 is no multiple of patch_size 8"),
    ],
)
def test_malformed_configs_are_refused(changes: dict[str, Any], message: str) -> None:
    recorded = case(NAME)
    with pytest.raises(InputError, match=re.escape(message)):
        cream.load(recorded.weights, {**recorded.config, **changes})


GP = "autoformer_gp_rel_cqkv_abs_h3"


@pytest.mark.parametrize("kept", [(), ("gp",), ("num_classes", "depth"), ("img_size", "embed_dim")])
def test_what_a_config_lacks_is_read_off_the_weights(kept: tuple[str, ...]) -> None:
    recorded = case(GP)
    net = cream.load(recorded.weights, {name: recorded.config[name] for name in kept}).eval()
    with torch.no_grad():
        logits = net(recorded.tensors["input"], cream.arch(recorded.subnets[1]))
    assert_official(logits, recorded.tensors["logits.1"])


@pytest.mark.parametrize("lacks", list(case(GP).config))
def test_any_argument_may_be_left_out(lacks: str) -> None:
    recorded = case(GP)
    config = {name: value for name, value in recorded.config.items() if name != lacks}
    assert cream.load(recorded.weights, config).config == net_of(GP).config


def test_a_config_comes_before_the_arguments_of_a_training() -> None:
    weights, args = case(NAME).weights, {"gp": False, "change_qkv": True, "no_abs_pos": False}
    args["relative_position"] = False
    config = {"relative_position": False}
    assert cream.load(weights, config).config.pool == "avg"
    assert cream.load(weights, {}, args=args).config.pool == "token"
    assert cream.load(weights, {"depth": 3}, args=args).config == net_of(NAME).config
    assert cream.load(weights, {"gp": True}, args=args).config.pool == "avg"
    with pytest.raises(InputError, match=r"missing: blocks\.0\.attn\.rel_pos_embed"):
        cream.load(weights, {"relative_position": True}, args=args)


def test_the_image_size_of_a_training_is_held_against_the_positions() -> None:
    weights, size = case(WIDE).weights, case(WIDE).config["img_size"]
    assert cream.load(weights, {}, args={"input_size": size}).config.img_size == (size, size)
    with pytest.raises(InputError, match="is no multiple of patch_size"):
        cream.load(weights, {}, args={"input_size": size + 1})
    with pytest.raises(InputError, match=r"wrong shape: pos_embed is .*, expected"):
        cream.load(weights, {}, args={"input_size": 2 * size})


def test_inert_arguments_are_accepted() -> None:
    recorded = case(NAME)
    inert = {"drop_rate": 0.1, "drop_path_rate": 0.1, "rpe_type": "bias"}
    cream.load(recorded.weights, {**recorded.config, **inert})


def test_misfitting_weights_are_listed_in_official_names() -> None:
    recorded = case(NAME)
    weights = dict(recorded.weights)
    del weights["blocks.1.attn_layer_norm.bias"], weights["pos_embed"]
    weights["blocks.0.fc1.weight"] = torch.zeros(3, 4)
    weights["teacher.weight"] = torch.zeros(1)
    with pytest.raises(InputError) as caught:
        cream.load(weights, recorded.config)
    assert str(caught.value) == (
        "not the official AutoFormer of this config; "
        "missing: blocks.1.attn_layer_norm.bias, pos_embed; unexpected: teacher.weight; "
        "wrong shape: blocks.0.fc1.weight is (3, 4), expected (256, 128); "
        "if it never had positions, its config (--config) must say abs_pos: false"
    )


def test_our_own_state_is_not_taken_for_the_official() -> None:
    recorded = case(NAME)
    with pytest.raises(InputError, match=r"weights: blocks\.0\.fc1\.weight, .* missing"):
        cream.load(net_of(NAME).state_dict(), recorded.config)


def test_a_space_must_fit_inside_the_weights() -> None:
    recorded = case(NAME)
    space = Space(
        "autoformer",
        (
            Choice("depth", (4,)),
            Choice("mlp_ratio", (2.0,), "block"),
            Choice("num_heads", (2,), "block"),
            Choice("embed_dim", (128,)),
        ),
    )
    with pytest.raises(InputError, match=r"the architecture has blocks\.3, the supernet ends"):
        cream.load(recorded.weights, recorded.config, space)


def test_archs_that_do_not_fit_are_refused() -> None:
    net = net_of(NAME)
    fits = net.largest.replace(depth=1, mlp_ratio=(1.3,), num_heads=(1,), embed_dim=77)
    images = case(NAME).tensors["input"]
    assert net(images, fits).shape == (len(images), 10)
    with pytest.raises(InputError, match="embed of stem and head is 129, the supernet has 128"):
        net(images, net.largest.replace(embed_dim=129))
    with pytest.raises(InputError, match=r"hidden of blocks\.1 is 384, the supernet has 256"):
        net(images, net.largest.replace(mlp_ratio=(2, 3, 2)))


def test_the_official_yaml_is_a_config() -> None:
    recorded = case("autoformer_gp_rel_cqkv_abs_h3")
    names = ("MLP_RATIO", "NUM_HEADS", "EMBED_DIM", "DEPTH")
    sizes = {name: recorded.config[name.lower()] for name in names}
    whole = {"SUPERNET": sizes, "SEARCH_SPACE": {}}
    net, direct = cream.load(recorded.weights, whole), net_of("autoformer_gp_rel_cqkv_abs_h3")
    arch = cream.arch(recorded.subnets[1])
    images = recorded.tensors["input"]
    assert torch.equal(net.eval()(images, arch), direct(images, arch))
    assert cream.load(recorded.weights, {**whole, "gp": False}).config.pool == "token"
    with pytest.raises(InputError, match=r"wrong shape: head\.bias"):
        cream.load(recorded.weights, {**whole, "num_classes": 1000})

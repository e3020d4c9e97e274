"""Weights and configs that are not NNI's, and nets that NNI can't hold."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import nn

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import nni
from vitnas.interop.originals import recognise
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

from .damage import damaged
from .recorded_nni import SUBNETS, SUPERNET, case
from .test_nni import searched


def test_misfitting_weights_are_listed_in_nnis_names() -> None:
    recorded = case("nni_subnet_default")
    weights = recorded.weights()
    del weights["blocks.1.attn_layer_norm.bias"], weights["pos_embed.pos_embed"]
    weights["blocks.0.fc1.weight"] = weights["blocks.0.fc1.weight"].t()
    weights["blocks.2.attn.w.weight"] = weights.pop("blocks.2.attn.v.weight")
    with pytest.raises(InputError) as caught:
        nni.load(weights, recorded.metadata["config"])
    assert str(caught.value) == (
        "not the official NNI AutoFormer of this config; "
        "missing: blocks.1.attn_layer_norm.bias, blocks.2.attn.v.weight, pos_embed.pos_embed; "
        "unexpected: blocks.2.attn.w.weight; "
        "wrong shape: blocks.0.fc1.weight is (64, 224), expected (224, 64); "
        "if it never had positions, its config (--config) must say absolute_position: false"
    )


def test_weights_of_2_8_are_told_from_those_that_are_read() -> None:
    """Its heads are embed_dim / num_heads wide, in one projection; its tokens have bare names."""
    weights = {
        "cls_token": torch.zeros(1, 1, 192),
        "pos_embed": torch.zeros(1, 5, 192),
        "patch_embed.weight": torch.zeros(192, 3, 16, 16),
        "blocks.0.attn.qkv.weight": torch.zeros(576, 192),
        "blocks.0.attn_layer_norm.weight": torch.zeros(192),
        "head.weight": torch.zeros(10, 192),
    }
    assert recognise(weights) == "nni"
    message = (
        "weights of NNI 2.8, whose heads are embed_dim / num_heads wide .* 2.9 to 3.0 are read"
    )
    for config in ({}, {"img_size": 32}):
        with pytest.raises(InputError, match=message):
            nni.load(weights, config)


@pytest.mark.parametrize("name", [*SUBNETS, SUPERNET])
@pytest.mark.parametrize("how", ["removed", "renamed", "transposed"])
def test_every_single_fault_is_named(name: str, how: str) -> None:
    recorded = case(name)
    config = recorded.metadata["config"]
    for key, weights in damaged(recorded.weights(), how):
        with pytest.raises(InputError, match=re.escape(key)):
            nni.load(weights, config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_depht": [1]}, "unknown NNI AutoFormer argument 'search_depht'; did you mean"),
        (
            {"search_depth": 3},
            "search_depth is 3; it must be a list of positive numbers up to 1,000",
        ),
        ({"search_depth": [2.5]}, "depth is 2.5, not a whole number"),
        ({"search_mlp_ratio": ["3"]}, "search_mlp_ratio is ['3']; it must be a list of positive"),
        ({"search_mlp_ratio": [math.nan]}, "search_mlp_ratio is [nan]; it must be a list of"),
        ({"search_num_heads": [1, 2]}, "num_heads is 3, search_num_heads is [1, 2]"),
        ({"search_embed_dim": (48, 80)}, "embed_dim is 64, search_embed_dim is [48, 80]"),
        ({"img_size": 64}, "wrong shape: blocks.0.attn.rel_pos_embed_k.embeddings_table_h is (10"),
        ({"img_size": 33}, "img_size 33x33 is no multiple of patch_size 8"),
        ({"rpe": False}, "unexpected: blocks.0.attn.rel_pos_embed_k.embeddings_table_h, "),
        ({"qkv_bias": False}, "unexpected: blocks.0.attn.k.bias, "),
        ({"pre_norm": False}, "unexpected: norm.bias, norm.weight"),
        ({"num_labels": 0}, "unexpected: head.bias, head.weight"),
    ],
)
def test_configs_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    recorded = case("nni_subnet_default")
    with pytest.raises(InputError, match=re.escape(message)):
        nni.load(recorded.weights(), {**recorded.metadata["config"], **changes})


def test_a_config_that_is_none_and_weights_of_something_else() -> None:
    none: Any = []
    with pytest.raises(InputError, match=r"NNI AutoFormer config: it must be a mapping, got \[\]"):
        nni.load({}, none)
    with pytest.raises(InputError, match=r"NNI AutoFormer weights: patch_embed\.weight missing"):
        nni.load({"weight": torch.zeros(1)}, {})
    wrong = {**case("nni_subnet_default").weights(), "patch_embed.weight": torch.zeros(3)}
    with pytest.raises(InputError, match=r"patch_embed\.weight has 1 dimensions, not 4"):
        nni.load(wrong, {})


def test_a_subnet_serves_no_space() -> None:
    recorded = case("nni_subnet_default")
    with pytest.raises(InputError, match="weights are one network: leave the space out"):
        nni.load(recorded.weights(), {}, searched(recorded.metadata["config"]))


SPACE = Space(
    "autoformer",
    (
        Choice("depth", (1, 2)),
        Choice("mlp_ratio", (1.0, 2.0), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (24, 32)),
    ),
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_dim": 32}, "the NNI AutoFormer can't hold this net: head_dim is 32, not 64"),
        ({"img_size": (16, 24)}, "img_size is not square"),
        ({"post_norm": True}, "final_norm is True, not False"),
        ({"init_values": 0.1, "norm_eps": 1e-6}, "init_values is 0.1, not None; norm_eps is 1e-06"),
        ({"sharing": "suffix"}, "the NNI AutoFormer shares by prefix, not suffix"),
        (
            {"largest": SPACE.largest.replace(num_heads=(3, 2)), "space": None},
            "has the same choices in all layers; here the largest num_heads are 3, 2",
        ),
    ],
)
def test_nets_that_nni_cannot_hold_are_not_dumped(options: dict[str, Any], message: str) -> None:
    given = {"space": SPACE, "num_classes": 3, "img_size": 16, "patch_size": 8, **options}
    with pytest.raises(InputError, match=re.escape(message)):
        nni.dump(Supernet(**given))


def test_nets_of_other_families_are_not_dumped() -> None:
    vit = vitnas.build(Arch("vit", **SPACE.largest), 3, 16, patch_size=8)
    with pytest.raises(InputError, match="NNI AutoFormer format holds AutoFormer nets, not vit"):
        nni.dump(vit)
    with pytest.raises(InputError, match="NNI AutoFormer format holds AutoFormer nets of vitnas"):
        nni.dump(nn.Linear(1, 1))

"""NNI's AutoFormer: recorded logits through every path, round trips, and every refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import cream, nni
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

from .recorded_nni import PAIR, SUBNETS, SUPERNET, case

SUPER = range(len(case(SUPERNET).metadata["subnets"]))
TO_VERSION_2 = {new: old for old, new in nni._VERSION_2.items()}


def assert_recorded(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


def features(model: Any, images: Tensor) -> Tensor:
    """Return what the head of a static model receives."""
    pooled: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
    return pooled


def model_of(name: str) -> nn.Module:
    recorded = case(name)
    return nni.load(recorded.weights(), recorded.metadata["config"]).eval()


def supernet(space: Space | None = None) -> Supernet:
    recorded = case(SUPERNET)
    net = nni.load(recorded.weights(), recorded.metadata["config"], space)
    assert isinstance(net, Supernet)
    return net.eval()


def searched(config: dict[str, Any]) -> Space:
    """Return the space of the lists of a config."""
    return Space(
        "autoformer",
        (
            Choice("depth", tuple(config["search_depth"])),
            Choice("mlp_ratio", tuple(config["search_mlp_ratio"]), "block"),
            Choice("num_heads", tuple(config["search_num_heads"]), "block"),
            Choice("embed_dim", tuple(config["search_embed_dim"])),
        ),
    )


@pytest.mark.parametrize("name", SUBNETS)
def test_recorded_subnets_through_every_path(name: str, tmp_path: Path) -> None:
    recorded, model = case(name), model_of(name)
    images, metadata = recorded.tensors["input"], recorded.metadata
    record: Any = model.vitnas_config
    arch = Arch.from_dict(record["arch"])
    assert arch == nni.arch(metadata["arch"])
    assert metadata["effective"]["mlp_hidden"] == [int(arch.embed_dim * r) for r in arch.mlp_ratio]
    assert sum(p.numel() for p in model.parameters()) == metadata["n_params"]
    options = {n: v for n, v in record["options"].items() if n not in arch}
    assert cost.params(arch, **options) == metadata["n_params"]
    with torch.no_grad():
        logits = model(images)
        assert_recorded(logits, recorded.tensors["logits"])
        assert_recorded(features(model, images), recorded.tensors["features"])
        loaded = vitnas.load(vitnas.save(model, tmp_path / "model"))
        assert torch.equal(loaded(images), logits)
        exact = model.double()(images.double())
    bound = metadata["max_abs_err_vs_float64"] + 1e-7
    assert (exact - recorded.tensors["logits"]).abs().max() <= bound


@pytest.mark.parametrize("i", SUPER)
def test_recorded_supernet_through_every_path(i: int, tmp_path: Path) -> None:
    recorded, net = case(SUPERNET), supernet()
    subnet, images = recorded.metadata["subnets"][i], recorded.tensors["input"]
    arch = nni.arch(subnet["arch"])
    model = net.extract(arch)
    assert sum(p.numel() for p in model.parameters()) == subnet["n_params"]
    with torch.no_grad():
        logits = net(images, arch)
        assert_recorded(logits, recorded.tensors[f"logits.{i}"])
        assert_recorded(features(model, images), recorded.tensors[f"features.{i}"])
        assert torch.equal(model(images), logits)
        saved = vitnas.load(vitnas.save(net, tmp_path / "net"))
        assert torch.equal(saved(images, arch), logits)
        loaded = vitnas.load(vitnas.save(model, tmp_path / "model"))
        assert torch.equal(loaded(images), logits)
        exact = net.double()(images.double(), arch)
    bound = subnet["max_abs_err_vs_float64"] + 1e-7
    assert (exact - recorded.tensors[f"logits.{i}"]).abs().max() <= bound


def test_recordings_cover_what_could_go_wrong() -> None:
    configs = {name: case(name).metadata["config"] for name in SUBNETS}
    post, norpe = configs["nni_subnet_post_cls"], configs["nni_subnet_norpe"]
    off = ("pre_norm", "global_pooling", "absolute_position", "qkv_bias")
    assert not any(post[name] for name in off)
    assert post["qk_scale"] == 0.3
    assert (norpe["rpe"], norpe["in_channels"], norpe["patch_size"]) == (False, 1, 4)
    assert any("num_head_2" in case(n).metadata["arch"] and case(n).metadata["arch"]["depth"] == 2
               for n in SUBNETS)  # fmt: skip
    heads = [s["effective"]["num_heads"] for s in case(SUPERNET).metadata["subnets"]]
    assert [3, 2] in heads
    assert [2, 1, 3] in heads


@pytest.mark.parametrize("name", [*SUBNETS, SUPERNET])
def test_dump_gives_back_the_same_state(name: str) -> None:
    recorded = case(name)
    net, weights = nni.load(recorded.weights(), recorded.metadata["config"]), recorded.weights()
    dumped = nni.dump(net)
    assert dumped.keys() == weights.keys()
    assert all(torch.equal(dumped[key], weights[key]) for key in weights)
    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    assert not own & {tensor.untyped_storage().data_ptr() for tensor in dumped.values()}
    given = recorded.metadata["config"].items()
    known = {k: v for k, v in given if not k.startswith(("search_", "drop", "attn"))}
    found = nni.arguments(net)
    assert {k: v for k, v in found.items() if not k.startswith("search_")} == known
    assert (len(found) == len(known)) == isinstance(net, Supernet)


def test_the_lists_of_a_static_model_are_its_own_sizes() -> None:
    """NNI refuses to freeze an architecture outside its lists, whose defaults are those of tiny."""
    found = nni.arguments(model_of("nni_subnet_default"))
    lists = {"embed_dim": [64], "mlp_ratio": [1.5, 2, 3.5], "num_heads": [1, 2, 3], "depth": [3]}
    assert {name: found[f"search_{name}"] for name in lists} == lists
    around = searched(case("nni_subnet_default").metadata["config"])
    found = nni.arguments(model_of("nni_subnet_default"), around)
    assert found["search_embed_dim"] == [48, 64, 80]


@pytest.mark.parametrize("name", [*SUBNETS, SUPERNET])
def test_config_is_inferred_from_the_weights(name: str) -> None:
    recorded = case(name)
    inferred = nni.infer_config(recorded.weights())
    expected = {**recorded.metadata["config"], "global_pooling": True, "qk_scale": None}
    assert inferred == {key: expected[key] for key in inferred}
    assert len(inferred) == 10
    unseen = {k: recorded.metadata["config"][k] for k in ("global_pooling", "qk_scale")}
    net = nni.load(recorded.weights(), unseen).eval()
    given = nni.load(recorded.weights(), recorded.metadata["config"]).eval()
    images = recorded.tensors["input"]
    args = (net.largest,) if isinstance(net, Supernet) else ()
    with torch.no_grad():
        assert torch.equal(net(images, *args), given(images, *args))


def test_the_image_size_must_be_shown_or_given() -> None:
    recorded = case("nni_subnet_norpe")
    weights = recorded.weights()
    del weights["pos_embed.pos_embed"]
    config = {"absolute_position": False}
    with pytest.raises(InputError, match="don't show the size of images; give a config with img_"):
        nni.load(weights, config)
    assert nni.load(weights, {**config, "img_size": 20})(recorded.tensors["input"]).shape == (2, 5)


@pytest.mark.parametrize("name", SUBNETS)
def test_names_of_version_2(name: str) -> None:
    recorded = case(name)
    config = {TO_VERSION_2.get(k, k): v for k, v in recorded.metadata["config"].items()}
    with torch.no_grad():
        logits = nni.load(recorded.weights(), config).eval()(recorded.tensors["input"])
    assert_recorded(logits, recorded.tensors["logits"])


def test_what_weights_cannot_show_is_the_default_of_the_version_whose_names_are_used() -> None:
    recorded = case("nni_subnet_default")
    for config, pool in (({}, "avg"), ({"in_chans": 3}, "token"), ({"in_channels": 3}, "avg")):
        record: Any = nni.load(recorded.weights(), config).vitnas_config
        assert record["options"]["pool"] == pool
    both = {"in_chans": 3, "in_channels": 3}
    with pytest.raises(InputError, match="in_channels stands twice, in both versions' names"):
        nni.load(recorded.weights(), both)


def test_a_raw_space_with_ascending_lists_holds_the_smallest_sizes() -> None:
    """NNI builds the first candidate of every choice, and all blocks."""
    config = case(SUPERNET).metadata["config"]
    smallest = Arch("autoformer", depth=3, mlp_ratio=(1.5,) * 3, num_heads=(1,) * 3, embed_dim=48)
    net = supernet()
    raw = {
        name.replace("blocks.", "blocks.blocks.", 1): tensor
        for name, tensor in nni.dump(net.extract(smallest)).items()
    }
    found = nni.load(raw, config)
    assert isinstance(found, Supernet)
    assert found.largest == smallest
    images = case(SUPERNET).tensors["input"]
    with torch.no_grad():
        assert torch.equal(found.eval()(images, smallest), net(images, smallest))


def test_a_supernet_serves_a_space() -> None:
    config = case(SUPERNET).metadata["config"]
    space = searched(config)
    net = supernet(space)
    assert net.space == space
    lists = {name: value for name, value in config.items() if name.startswith("search_")}
    assert {k: v for k, v in nni.arguments(net).items() if k in lists} == lists
    smaller = space.with_values(embed_dim=[48, 64], num_heads=[1, 2], depth=[2])
    dumped = nni.dump(net, space=smaller)
    assert dumped["cls_token.cls_token"].shape == (1, 1, 64)
    assert dumped["blocks.blocks.1.attn.q.weight"].shape == (128, 64)
    assert not [name for name in dumped if "blocks.2" in name]
    back = nni.load(dumped, nni.arguments(net, smaller)).eval()
    images = case(SUPERNET).tensors["input"]
    with torch.no_grad():
        for seed in range(3):
            arch = smaller.sample(seed)
            assert torch.equal(back(images, arch), net(images, arch))


# The official supernet and what becomes of it in NNI


def pair() -> tuple[Any, Supernet]:
    recorded = case(PAIR)
    weights = recorded.weights("official.")
    return recorded, cream.load(weights, recorded.metadata["official_config"]).eval()


PAIRS = range(3)


@pytest.mark.parametrize("i", PAIRS)
def test_official_subnets_are_nni_subnets_and_back_bit_for_bit(i: int) -> None:
    recorded, net = pair()
    images, arch = recorded.tensors["input"], nni.arch(recorded.metadata["subnets"][i]["arch"])
    with torch.no_grad():
        logits = net(images, arch)
        assert_recorded(logits, recorded.tensors[f"logits.{i}.official"])
        model = net.extract(arch)
        dumped = nni.dump(model)
        if i in recorded.metadata["stored_nni_subnets"]:
            wanted = recorded.weights(f"nni_subnet.{i}.")
            assert dumped.keys() == wanted.keys()
            assert all(torch.equal(dumped[key], wanted[key]) for key in wanted)
        theirs = nni.load(dumped, nni.arguments(model)).eval()
        assert torch.equal(theirs(images), logits)
        back = cream.load(cream.dump(theirs), cream.arguments(theirs)).eval()
        assert torch.equal(back(images, arch), logits)


def test_an_official_supernet_is_refused_unless_the_loss_is_agreed_to() -> None:
    recorded, net = pair()
    space = searched(recorded.metadata["nni_config"])
    message = r"can't keep all of this supernet: subnets with fewer heads .* Convert a subnet"
    with pytest.raises(InputError, match=message):
        nni.dump(net, space=space)
    dumped = nni.dump(net, space=space, lossy=True)
    wanted = recorded.weights("nni_supernet.")
    assert dumped.keys() == wanted.keys()
    assert all(torch.equal(dumped[key], wanted[key]) for key in wanted)
    frozen = nni.load(dumped, recorded.metadata["nni_config"]).eval()
    images = recorded.tensors["input"]
    for i in PAIRS:
        arch = nni.arch(recorded.metadata["subnets"][i]["arch"])
        with torch.no_grad():
            logits = frozen(images, arch)
            off = (logits - net(images, arch)).abs().max()
        assert_recorded(logits, recorded.tensors[f"logits.{i}.nni_supernet_frozen"])
        assert off == 0 if i == 0 else off > 0.9


def test_an_nni_supernet_is_refused_as_an_official_one_unless_the_loss_is_agreed_to() -> None:
    recorded = case(SUPERNET)
    net, images = supernet(), recorded.tensors["input"]
    with pytest.raises(InputError, match="can't keep all of this supernet"):
        cream.dump(net)
    back = cream.load(cream.dump(net, lossy=True), cream.arguments(net)).eval()
    offs = []
    with torch.no_grad():
        for subnet in recorded.metadata["subnets"]:
            arch = nni.arch(subnet["arch"])
            offs.append(float((back(images, arch) - net(images, arch)).abs().max()))
    assert offs[0] == 0
    assert min(offs[1:]) > 0.1


def test_a_supernet_is_an_official_one_where_all_subnets_have_all_heads() -> None:
    recorded = case(SUPERNET)
    space = searched(recorded.metadata["config"]).with_values(num_heads=[3])
    net = supernet(space)
    assert cream.lost(net) == []
    back = cream.load(cream.dump(net), cream.arguments(net)).eval()
    again = nni.load(nni.dump(back, space=space), nni.arguments(net)).eval()
    for seed in range(3):
        arch = space.sample(seed)
        with torch.no_grad():
            logits = net(recorded.tensors["input"], arch)
            assert torch.equal(back(recorded.tensors["input"], arch), logits)
            assert torch.equal(again(recorded.tensors["input"], arch), logits)


@pytest.mark.parametrize("bias", ["none", "zero"])
def test_supernets_without_biases_go_round_bit_for_bit(bias: str) -> None:
    recorded, _ = pair()
    weights, config = recorded.weights("official."), dict(recorded.metadata["official_config"])
    for name in [name for name in weights if name.endswith("qkv.bias")]:
        if bias == "none":
            del weights[name]
        else:
            weights[name] = torch.zeros_like(weights[name])
    config["qkv_bias"] = bias == "zero"
    net = cream.load(weights, config)
    middle = nni.load(nni.dump(net), nni.arguments(net))
    # NNI's supernet has nested biases, so that the way back is judged by its own rule.
    back = cream.dump(middle)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


@pytest.mark.parametrize(("old", "new"), [(14, 4), (3, 4), (2, 4), (4, 4)])
def test_tables_reach_as_far_as_the_grid_in_nni(old: int, new: int) -> None:
    arch = Arch("autoformer", depth=1, mlp_ratio=(2,), num_heads=(2,), embed_dim=24)
    model = vitnas.build(arch, 5, 16, patch_size=4, max_relative_position=old).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    dumped = nni.dump(model)
    assert dumped["blocks.0.attn.rel_pos_embed_k.embeddings_table_v"].shape == (2 * new + 2, 64)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(nni.load(dumped, {}).eval()(images), model(images))


# Weights that don't fit


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
        "wrong shape: blocks.0.fc1.weight is (64, 224), expected (224, 64)"
    )


@pytest.mark.parametrize("name", [*SUBNETS, SUPERNET])
@pytest.mark.parametrize("how", ["removed", "renamed", "transposed"])
def test_every_single_fault_is_named(name: str, how: str) -> None:
    recorded = case(name)
    config = recorded.metadata["config"]
    for key, tensor in recorded.weights().items():
        weights = recorded.weights()
        if how == "transposed":
            if tensor.squeeze().dim() < 2 or tensor.shape == tensor.transpose(-2, -1).shape:
                continue
            weights[key] = tensor.transpose(-2, -1)
        else:
            weights[key + "s"] = weights.pop(key)
            if how == "removed":
                del weights[key + "s"]
        with pytest.raises(InputError, match=re.escape(key)):
            nni.load(weights, config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_depht": [1]}, "unknown NNI AutoFormer argument 'search_depht'; did you mean"),
        ({"search_depth": 3}, "search_depth is 3; it must be a list"),
        ({"search_num_heads": [1, 2]}, "num_heads is 3, search_num_heads is [1, 2]"),
        ({"search_embed_dim": (48, 80)}, "embed_dim is 64, search_embed_dim is (48, 80)"),
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
    with pytest.raises(InputError, match=r"NNI AutoFormer config: it must be a mapping, got \[\]"):
        nni.load({}, [])  # type: ignore[arg-type]
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


# Descriptions


layers = st.integers(1, 4)


@given(layers.flatmap(lambda n: st.tuples(
    st.just(n),
    st.lists(st.sampled_from([3, 3.5, 4]), min_size=n, max_size=n),
    st.lists(st.integers(1, 10), min_size=n, max_size=n),
    st.integers(1, 640),
)))  # fmt: skip
def test_descriptions_round_trip(genes: Any) -> None:
    depth, ratios, heads, width = genes
    theirs: dict[str, Any] = {"embed_dim": width, "depth": depth}
    for i in range(depth):
        theirs |= {f"mlp_ratio_{i}": ratios[i], f"num_head_{i}": heads[i]}
    arch = nni.arch(theirs)
    assert nni.foreign(arch) == theirs
    inactive = {f"mlp_ratio_{depth}": 3, f"num_head_{depth}": 1}
    assert nni.arch({**theirs, **inactive}) == arch
    assert nni.arch({"mutation_summary": theirs}) == arch


def test_inactive_layers_are_written_at_the_minimum_of_a_space() -> None:
    recorded = case(SUPERNET).metadata
    space = searched(recorded["config"])
    smallest = recorded["subnets"][1]["arch"]
    assert nni.foreign(nni.arch(smallest), space) == smallest
    with pytest.raises(InputError, match="the space allows 48, 64, 80"):
        nni.foreign(nni.arch({**smallest, "embed_dim": 49}), space)


def test_text_is_read_too() -> None:
    theirs = case(SUPERNET).metadata["subnets"][2]["arch"]
    assert nni.arch(str(theirs).replace("'", '"')) == nni.arch(theirs)


FLAT = {"embed_dim": 48, "depth": 2, "mlp_ratio_0": 2, "num_head_0": 1, "mlp_ratio_1": 2.5,
        "num_head_1": 3}  # fmt: skip


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "NNI AutoFormer architecture: it must be a mapping, got []"),
        ("[1", "NNI AutoFormer architecture: not valid YAML: while parsing"),
        ({}, "NNI AutoFormer architecture: depth, embed_dim missing"),
        ({"mutation_summary": 3}, "it must be a mapping, got 3"),
        ({**FLAT, "depth": 3}, "mlp_ratio_2, num_head_2 missing"),
        ({**FLAT, "depth": "2"}, "depth is '2', not a whole number"),
        ({**FLAT, "depth": True}, "depth is True, not a whole number"),
        ({**FLAT, "num_heads_1": 3}, "unknown NNI AutoFormer gene 'num_heads_1'; did you mean"),
        ({**FLAT, "num_head_1": 0}, "num_heads is (1, 0), it must be positive"),
        ({**FLAT, "num_head_1": None}, "gene num_heads is None"),
    ],
)
def test_malformed_descriptions_are_refused(record: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        nni.arch(record)


def test_descriptions_of_what_nni_lacks_are_refused() -> None:
    with pytest.raises(InputError, match="the NNI AutoFormer has no vit architectures"):
        nni.foreign(Arch("vit", **nni.arch(FLAT)))
    with pytest.raises(InputError, match="has no gene head_dim, patch_size in its subnets"):
        nni.foreign(vitnas.space("autoformer-digits").smallest)

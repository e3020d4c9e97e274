"""NNI's AutoFormer: recorded logits through every path, round trips, and every refusal."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import nni
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

from .recorded_nni import SUBNETS, SUPERNET, case

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


@pytest.mark.parametrize("name", SUBNETS)
def test_saved_subnets_load_with_timm_alone(name: str, tmp_path: Path) -> None:
    folder = vitnas.save(model_of(name), tmp_path / "model")
    module = runpy.run_path(str(folder / "modeling.py"))
    images = case(name).tensors["input"]
    with torch.no_grad():
        assert torch.equal(module["load"](str(folder))(images), model_of(name)(images))


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
    assert len(found) == len(known) + 4


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
    on = ("global_pooling", "rpe", "pre_norm", "qkv_bias", "absolute_position")
    unseen = {"qk_scale": None, **dict.fromkeys(on, True)}
    expected = {**recorded.metadata["config"], **unseen}
    assert inferred == {key: expected[key] for key in inferred}
    assert len(inferred) == 10
    unseen = {k: recorded.metadata["config"][k] for k in unseen}
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
    config = {"absolute_position": False, "rpe": False}
    with pytest.raises(InputError, match=r"neither pos_embed\.pos_embed nor tables"):
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
    net = supernet()
    assert net.space == space
    lists = {name: value for name, value in config.items() if name.startswith("search_")}
    assert {k: v for k, v in nni.arguments(net).items() if k in lists} == lists
    rest = {name: value for name, value in config.items() if name != "search_depth"}
    free = nni.load(case(SUPERNET).weights(), rest)
    assert isinstance(free, Supernet)
    assert free.space is None
    told = {k: v for k, v in nni.arguments(free).items() if k.startswith("search_")}
    assert told == {"search_depth": [space.largest.depth]}
    assert supernet(space.with_values(depth=[2, 3])).space == space.with_values(depth=[2, 3])
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

"""Tensors private to sizes that their shape lacks, and larger than the largest architecture's."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vitnas
from testing.patches import FAMILY, OPTIONS, PRIVATE, SPACE, register, units
from vitnas.arch import Arch
from vitnas.elastic import parameter_name
from vitnas.errors import InputError
from vitnas.models import Config, Kind, Unit
from vitnas.resize import resize
from vitnas.sharing import rules
from vitnas.space import Choice, Space
from vitnas.storage import make_storage
from vitnas.supernet import Supernet
from vitnas.testing import models

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


@pytest.fixture
def net() -> Supernet:
    return models.make(SPACE, PRIVATE, **OPTIONS)[0]


def _arch(**changes: Any) -> Arch:
    return SPACE.largest.replace(**changes)


def _shapes(net: Supernet, *names: str) -> dict[str, tuple[int, ...]]:
    return {
        key: tuple(tensor.shape)
        for key, tensor in net.state_dict().items()
        if parameter_name(key) in names
    }


def test_the_family_conforms_under_private_sizes() -> None:
    models.check_model(SPACE, PRIVATE, axes=("embed", "hidden"), standalone=False, **OPTIONS)


def test_a_private_tensor_is_as_large_as_its_kinds_need(net: Supernet) -> None:
    """Patches of 4 leave 17 tokens, more than the 5 of the largest; 1 head has all 8 channels."""
    assert _shapes(net, "cls_token", "pos_embed", "stem.weight", "stem.bias", "norm.bias") == {
        "cls_token": (1, 1, 12),
        "banks.cls_token@patch=4": (1, 1, 12),
        "pos_embed": (1, 5, 12),
        "banks.pos_embed@patch=4": (1, 17, 12),
        "stem.weight": (12, 3, 8, 8),
        "banks.stem:weight@patch=4": (12, 3, 4, 4),
        "stem.bias": (12,),
        "banks.stem:bias@patch=4": (12,),
        "norm.bias": (12,),
    }
    assert _shapes(net, "blocks.1.qk.weight", "blocks.1.v.bias", "blocks.1.v.weight") == {
        "blocks.1.qk.weight": (16, 12),
        "blocks.1.banks.qk:weight@heads=1": (16, 12),
        "blocks.1.banks.qk:weight@heads=2": (16, 12),
        "blocks.1.v.bias": (8,),
        "blocks.1.banks.v:bias@heads=1": (8,),
        "blocks.1.banks.v:bias@heads=2": (8,),
        "blocks.1.v.weight": (8, 12),
    }


def test_an_axis_that_is_smaller_for_a_private_size_needs_less() -> None:
    """In the plain ViT the MLP of a narrow net is narrower than that of the widest."""
    space = Space(
        "vit",
        (
            Choice("depth", (1,)),
            Choice("mlp_ratio", (2.0,), "block"),
            Choice("num_heads", (1,), "block"),
            Choice("embed_dim", (16, 24)),
        ),
    )
    options = {**OPTIONS, "patch_size": 8, "head_dim": 8}
    for policy, hidden in (("prefix", 32), ("ranked", 48)):
        net = Supernet(space, sharing={"*": policy, "embed": "independent"}, **options)
        assert net.state_dict()["blocks.0.banks.mlp:fc1:weight@embed=16"].shape == (hidden, 16)


@pytest.mark.parametrize("sharing", ["prefix", "suffix"])
def test_under_another_policy_an_axis_beside_the_shape_has_no_effect(sharing: Any) -> None:
    sharing = {"*": sharing, "head_dim": "independent", "patch": "independent"}
    net, _ = models.make(SPACE.with_values(attn_dim=(8,)), sharing, **OPTIONS)
    banks = {parameter_name(name) for name in net.state_dict() if "banks" in name}
    assert "blocks.0.qk.weight" in banks
    assert "blocks.0.v.bias" not in banks
    few, many = (net.subnet_state(_arch(num_heads=(n, n))) for n in (1, 4))
    assert torch.equal(few["blocks.0.v.bias"], many["blocks.0.v.bias"])


def test_private_sizes_learn_apart(net: Supernet) -> None:
    arch = _arch(patch=4, num_heads=(2, 4), embed_dim=8)
    net(IMAGES, arch).sum().backward()
    touched = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    stem = ("cls_token", "pos_embed", "stem.weight", "stem.bias")
    attention = ("blocks.0.v.bias", "blocks.1.v.bias", "blocks.1.qk.weight")
    assert {name for name in touched if parameter_name(name) in (*stem, *attention)} == {
        *("banks.cls_token@patch=4", "banks.pos_embed@patch=4"),
        *("banks.stem:weight@patch=4", "banks.stem:bias@patch=4"),
        "blocks.0.banks.v:bias@heads=2",
        *("blocks.1.v.bias", "blocks.1.qk.weight"),
    }


def test_first_values_are_the_shared_slice_or_if_that_is_too_small_the_own_module_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def marked(config: Any, kind: Kind) -> nn.Module:
        module = FAMILY.build_unit(config, kind)
        if kind.role == "root":
            nn.init.constant_(module.get_parameter("pos_embed"), kind.size["patch"])
        return module

    space = register(monkeypatch, "marked", build_unit=marked)
    static = vitnas.build(space.largest, **OPTIONS).double()
    nn.init.constant_(static.get_parameter("cls_token"), 3)
    state = Supernet(space, sharing=PRIVATE, static=static, **OPTIONS).state_dict()
    assert state["banks.pos_embed@patch=4"].unique().tolist() == [4]
    assert state["banks.cls_token@patch=4"].unique().tolist() == [3]
    assert torch.equal(state["banks.stem:weight@patch=4"], state["stem.weight"][..., :4, :4])
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}


def test_kinds_of_a_private_size_that_no_single_one_covers_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table of rows by columns, where one kind has most rows and another most columns."""

    def wide(config: Config, arch: Arch) -> tuple[Unit, ...]:
        root, *blocks = units(config, arch)
        sizes = root.kind.size
        if sizes["patch"] == 4:
            sizes = {**sizes, "positions": 17 + 4 * (sizes["embed"] == 4)}
        return (Unit("", Kind("root", tuple(sizes.items()))), *blocks)

    space = register(monkeypatch, "wide", units=wide)
    with pytest.raises(ValueError, match="no kind of root fills pos_embed@patch=4"):
        Supernet(space, sharing=PRIVATE, **OPTIONS)


def test_shared_axes_must_fit_into_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    space = register(monkeypatch)
    with pytest.raises(InputError, match="positions of stem and head is 17, the supernet has 5"):
        Supernet(space, **OPTIONS)
    with pytest.raises(InputError, match=r"head_dim of blocks\.0 is 4, the supernet has 2"):
        Supernet(space.with_values(patch=(8,)), **OPTIONS)


def test_without_a_space_private_sizes_need_one_that_is_stored(net: Supernet) -> None:
    largest = SPACE.largest
    with pytest.raises(InputError, match="needs a space that lists them; give space, or stored_s"):
        Supernet(None, sharing=PRIVATE, largest=largest, **OPTIONS)
    free = Supernet(None, sharing=PRIVATE, stored_space=SPACE, **OPTIONS).eval()
    free.load_state_dict(net.state_dict())
    odd = _arch(patch=4, embed_dim=7, num_heads=(2, 1), attn_dim=(6, 5))
    with torch.no_grad():
        assert torch.equal(free(IMAGES, odd), free.extract(odd)(IMAGES))
        assert torch.equal(free(IMAGES, SPACE.smallest), net(IMAGES, SPACE.smallest))
    for changes, message in (
        ({"patch": 2}, "stem.weight is stored for patch=4; patch=8, not for patch=2"),
        ({"num_heads": (4, 8)}, "qk.weight is stored for heads=1; heads=2; heads=4, not for heads"),
        ({"embed_dim": 13}, "embed of stem and head is 13, the supernet has 12"),
        ({"attn_dim": (8, 9), "num_heads": (1, 1)}, "head_dim of blocks.1 is 9, the supernet"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            free(IMAGES, _arch(**changes))


def test_a_narrower_space_may_run_on_a_wider_storage(net: Supernet) -> None:
    narrow = SPACE.with_values(patch=(8,), num_heads=(1,))
    served = Supernet(narrow, sharing=PRIVATE, stored_space=SPACE, **OPTIONS).eval()
    served.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(served(IMAGES, narrow.largest), net(IMAGES, narrow.largest))
    with pytest.raises(InputError, match="patch is 4, the space allows 8"):
        served(IMAGES, narrow.largest.replace(patch=4))
    wider = SPACE.with_values(num_heads=(1, 2, 4, 8))
    with pytest.raises(InputError, match="stored for heads=1; heads=2; heads=4, not for heads=8"):
        Supernet(wider, sharing=PRIVATE, stored_space=SPACE, **OPTIONS)


def test_folders_and_resizing_keep_what_is_stored(net: Supernet, tmp_path: Path) -> None:
    free = Supernet(None, sharing=PRIVATE, stored_space=SPACE, **OPTIONS).eval()
    free.load_state_dict(net.state_dict())
    arch = _arch(patch=4, embed_dim=7)
    back: Any = vitnas.load(vitnas.save(free, tmp_path / "free"))
    larger: Any = resize(free, num_classes=3)
    assert net.state_dict()["banks.pos_embed@patch=4"].all()
    assert back.stored_space == larger.stored_space == SPACE
    assert back.space is larger.space is None
    with torch.no_grad():
        assert torch.equal(back(IMAGES, arch), free(IMAGES, arch))
        assert larger(IMAGES, arch).shape == (2, 3)


def test_storages_are_kept_by_identity(net: Supernet) -> None:
    """Blocks of equal kinds, and copies of a net, find each other's plans."""
    first, second = (net.get_submodule(f"blocks.{i}") for i in (0, 1))
    assert first._storage is second._storage
    assert copy.deepcopy(first)._storage is first._storage
    kind = Kind("block", (("embed", 4), ("hidden", 6), ("heads", 1), ("head_dim", 4), ("attn", 4)))
    config: Any = net.config
    made = [make_storage("patches", config, (kind,), rules("prefix")) for _ in range(2)]
    assert made[0] is made[1]

"""Other classes, image sizes and drop path: what is copied, interpolated and started afresh."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from vitnas.errors import InputError
from vitnas.resize import resize
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet, build
from vitnas.testing.models import check_bit_identical, make

SPACE = Space(
    "autoformer",
    (
        Choice("depth", (1, 2)),
        Choice("mlp_ratio", (1.0, 2.0), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (16, 24)),
    ),
)
OPTIONS: dict[str, Any] = {
    "num_classes": 5,
    "img_size": 16,
    "patch_size": 4,
    "head_dim": 8,
    "max_relative_position": 4,
}
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net() -> Supernet:
    return make(SPACE, {"*": "prefix", "hidden": "independent"}, **OPTIONS)[0]


def table(model: nn.Module, name: str) -> Tensor:
    """Return the rows of a relative position table beyond entry 0."""
    return model.get_parameter(f"blocks.0.attn.{name}").detach()[1:]


@pytest.mark.parametrize("static", [True, False])
def test_nothing_asked_changes_nothing_and_copies(net: Supernet, static: bool) -> None:
    model = net.extract(SPACE.largest) if static else net
    same = resize(model)
    for name, tensor in same.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
        assert tensor.data_ptr() != model.state_dict()[name].data_ptr()


def test_other_classes_bring_a_new_head_only(net: Supernet) -> None:
    model: Any = resize(net.extract(SPACE.largest), num_classes=37)
    assert model(IMAGES).shape == (2, 37)
    before = net.extract(SPACE.largest).state_dict()
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before.get(k, v + 1))]
    assert changed == ["head.weight", "head.bias"]
    assert model.get_parameter("head.bias").abs().max() == 0
    assert model.vitnas_config["options"]["num_classes"] == 37


def test_another_image_size_resamples_positions(net: Supernet) -> None:
    model = net.extract(SPACE.largest)
    wide: Any = resize(model, img_size=(16, 24))
    assert wide(torch.randn(2, 3, 16, 24)).shape == (2, 5)
    wanted = resample_abs_pos_embed(
        model.get_parameter("pos_embed").detach(), [4, 6], [4, 4], num_prefix_tokens=1
    )
    assert torch.equal(wide.pos_embed, wanted)


def test_relative_tables_follow_the_distance_as_a_share_of_the_image(net: Supernet) -> None:
    model = net.extract(SPACE.largest)
    double = resize(model, img_size=32)
    for name in ("rel_k_rows", "rel_k_cols", "rel_v_rows", "rel_v_cols"):
        old, new = table(model, name), table(double, name)
        assert len(new) == 2 * 8 + 1
        torch.testing.assert_close(new[::2], old)
        torch.testing.assert_close(new[1::2], (old[1:] + old[:-1]) / 2)
        zero = f"blocks.0.attn.{name}"
        assert torch.equal(double.get_parameter(zero)[0], model.get_parameter(zero)[0])


def test_a_side_that_shrinks_is_resized_although_its_table_keeps_its_length(net: Supernet) -> None:
    model = net.extract(SPACE.largest)
    narrow = resize(model, img_size=(16, 8))
    assert torch.equal(table(narrow, "rel_k_rows"), table(model, "rel_k_rows"))
    old, new = table(model, "rel_k_cols"), table(narrow, "rel_k_cols")
    assert new.shape == old.shape
    inside = [(d, 2 * d) for d in (-2, -1, 0, 1, 2)]
    for new_distance, old_distance in inside:
        torch.testing.assert_close(new[4 + new_distance], old[4 + old_distance])


def test_supernets_keep_their_policies_and_subnets(net: Supernet) -> None:
    big = resize(net, img_size=(16, 24), num_classes=3)
    assert isinstance(big, Supernet)
    assert (big.space, big.sharing, big.largest) == (net.space, net.sharing, net.largest)
    check_bit_identical(big, [SPACE.smallest, SPACE.sample(1)], torch.randn(2, 3, 16, 24))
    banks = [name for name in net.state_dict() if "banks" in name and "fc1" in name]
    assert banks
    assert all(torch.equal(big.state_dict()[name], net.state_dict()[name]) for name in banks)


def test_private_tables_are_resized_too() -> None:
    net, _ = make(SPACE, "independent", **OPTIONS)
    big = resize(net, img_size=32)
    assert isinstance(big, Supernet)
    check_bit_identical(big, [SPACE.smallest], torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("img_size", [(16, 24), (8, 16), 32])
def test_extraction_and_resizing_commute(net: Supernet, img_size: int | tuple[int, int]) -> None:
    big = resize(net, img_size=img_size)
    assert isinstance(big, Supernet)
    for arch in (SPACE.smallest, SPACE.sample(1), SPACE.largest):
        first = big.extract(arch).state_dict()
        last = resize(net.extract(arch), img_size=img_size).state_dict()
        assert first.keys() == last.keys()
        for name, tensor in first.items():
            torch.testing.assert_close(tensor, last[name], rtol=1e-6, atol=1e-7)


def test_a_rectangle_of_160_by_224_and_37_classes() -> None:
    arch = SPACE.largest.replace(patch_size=16)
    model: Any = build(arch, num_classes=1000, img_size=224, head_dim=8)
    images = torch.randn(1, 3, 160, 224)
    changed: Any = resize(model, num_classes=37, img_size=(160, 224))
    assert changed(images).shape == (1, 37)
    assert changed.patch_embed.grid_size == (10, 14)
    wanted = resample_abs_pos_embed(model.pos_embed, [10, 14], [14, 14], num_prefix_tokens=1)
    assert torch.equal(changed.pos_embed, wanted)
    rows, kept = "blocks.0.attn.rel_k_rows", "blocks.0.attn.rel_k_cols"
    assert torch.equal(changed.get_parameter(kept), model.get_parameter(kept))
    old, new = model.get_parameter(rows), changed.get_parameter(rows)
    middle = 1 + 14  # the entry of distance 0
    for distance, at in ((0, 0.0), (5, 7.0), (-5, -7.0), (3, 4.2)):
        low = int(at // 1)
        between = old[middle + low] * (1 - (at - low)) + old[middle + low + 1] * (at - low)
        torch.testing.assert_close(new[middle + distance], between)


def test_a_new_head_for_as_many_classes(net: Supernet) -> None:
    for model in (net, net.extract(SPACE.smallest)):
        assert torch.equal(head_of(resize(model, 5)), head_of(model))
        fresh = resize(model, 5, new_head=True)
        assert not torch.equal(head_of(fresh), head_of(model))
        same = [name for name in model.state_dict() if not name.startswith("head.")]
        state = fresh.state_dict()
        assert all(torch.equal(state[name], model.state_dict()[name]) for name in same)


def head_of(model: nn.Module) -> Tensor:
    """Return the weights of the head."""
    return model.get_parameter("head.weight").detach()


def test_a_head_where_there_was_none() -> None:
    model = build(SPACE.largest, num_classes=0, img_size=16, patch_size=4, head_dim=8)
    headed: Any = resize(model, num_classes=3)
    assert headed(IMAGES).shape == (2, 3)


def test_number_format_is_kept(net: Supernet) -> None:
    half = resize(net.extract(SPACE.largest).to(torch.bfloat16), num_classes=3, img_size=32)
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.bfloat16}


def test_a_vision_transformer_of_timms_form() -> None:
    space = Space("vit", SPACE.choices)
    options = {name: value for name, value in OPTIONS.items() if name[:3] != "max"}
    net, _ = make(space, **options)
    model: Any = resize(net.extract(space.largest), img_size=(24, 16), num_classes=7)
    assert model(torch.randn(2, 3, 24, 16)).shape == (2, 7)
    wanted = resample_abs_pos_embed(
        net.get_parameter("pos_embed").detach(), [6, 4], [4, 4], num_prefix_tokens=1
    )
    assert torch.equal(model.pos_embed, wanted)


def test_drop_path_is_an_option_like_others(net: Supernet) -> None:
    model: Any = resize(net.extract(SPACE.largest), drop_path_rate=0.2)
    assert model.blocks[1].drop_path1.drop_prob == pytest.approx(0.2)


def test_the_mode_is_kept(net: Supernet) -> None:
    assert not resize(net.eval(), num_classes=2).training
    assert resize(net.train(), num_classes=2).training


def test_refusals(net: Supernet) -> None:
    with pytest.raises(InputError, match="can't resize a Linear: it was not made by vitnas"):
        resize(nn.Linear(1, 1))
    with pytest.raises(InputError, match="img_size 18x18 is no multiple of patch_size 4"):
        resize(net, img_size=18)


@pytest.mark.parametrize("size", [(32,), (16, 16, 16), 1.5, "16", True])
def test_a_size_that_is_none_is_refused(net: Supernet, size: Any) -> None:
    with pytest.raises(InputError, match=r"img_size is .*; it is one whole number"):
        resize(net, img_size=size)

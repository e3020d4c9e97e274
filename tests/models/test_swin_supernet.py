"""S3's supernet: conformance on made-up spaces, the centre of bias tables, merging by neighbour."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitnas
from vitnas.arch import Arch
from vitnas.axes import parse
from vitnas.errors import InputError
from vitnas.models import family
from vitnas.ranking import rank
from vitnas.resize import resize
from vitnas.sharing import POLICIES
from vitnas.space import Choice, Space
from vitnas.testing import models

OPTIONS: dict[str, Any] = {"num_classes": 5, "img_size": (24, 48), "head_dim": 6, "patch_size": 2}
SPACE = Space(
    "s3",
    (
        Choice("depth", ((1, 2), (2, 3), (1, 2)), "stage"),
        Choice("mlp_ratio", ((1.3, 2.1), (1.0, 1.7, 2.5), (0.9, 1.1)), "block"),
        Choice("num_heads", ((1, 2), (1, 2, 3), (2, 3)), "block"),
        Choice("window_size", ((3, 4, 6), (2, 3), (3, 9)), "block"),
        Choice("embed_dim", ((11, 17), (13, 19, 22), (9, 15)), "stage"),
    ),
    stages=3,
)
BRIEF: Any = {"standalone": False, "graphs": False}


def table(block: nn.Module) -> Tensor:
    return block.get_parameter("attn.relative_position_bias_table")


def test_three_stages_of_odd_widths_conform() -> None:
    models.check_model(SPACE, seed=1, graphs=False, **OPTIONS)


@pytest.mark.parametrize(
    ("sharing", "options"),
    [
        ("independent", {}),
        ({"*": "suffix", "embed": "independent"}, {"qkv_bias": False, "in_chans": 1}),
        ({"row_distances": "prefix", "embed1": "centre"}, {"img_size": (48, 48)}),
        ("ranked", {"num_classes": 0, "axes": ["embed0", "embed1", "heads", "hidden"]}),
        ("centre", {"img_size": (48, 96), "window_img_size": 24}),
    ],
)
def test_options_and_mixed_policies_conform(sharing: Any, options: dict[str, Any]) -> None:
    models.check_model(SPACE, sharing, **BRIEF, **{**OPTIONS, **options})


def test_four_stages_conform() -> None:
    """As many as the published nets have; the last has one window, whatever the gene says."""
    space = Space(
        "s3",
        (
            Choice("depth", ((1, 2), (1,), (1, 2), (1,)), "stage"),
            Choice("mlp_ratio", (1.0, 1.5), "block"),
            Choice("num_heads", ((1, 2), (2,), (1, 3), (2, 3)), "block"),
            Choice("window_size", ((2, 4), (2, 8), (2, 4), (2, 7)), "block"),
            Choice("embed_dim", ((9, 12), (11, 14), (10,), (13, 16)), "stage"),
        ),
        stages=4,
    )
    models.check_model(space, **BRIEF, **{**OPTIONS, "img_size": 32})


def one(window: int, **genes: Any) -> Arch:
    """Return an architecture of one stage and block."""
    base: dict[str, Any] = {
        "depth": (1,),
        "mlp_ratio": ((1,),),
        "num_heads": ((3,),),
        "window_size": ((window,),),
        "embed_dim": (8,),
    }
    return Arch("s3", **{**base, **genes})


@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_smaller_window_has_the_biases_of_the_larger_ones_short_distances(window: int) -> None:
    """Bias of any two tokens is that of the largest window, restricted to a smaller one in it."""
    net = vitnas.Supernet(None, 2, 16, patch_size=2, head_dim=4, largest=one(8))
    small: Any = net.extract(one(window)).get_submodule("layers.0.blocks.0.attn")
    large: Any = net.extract(one(8)).get_submodule("layers.0.blocks.0.attn")
    biases = large._get_rel_pos_bias()[0].view(3, 8, 8, 8, 8)
    for row, col in ((0, 0), (8 - window, 0), (3 % (9 - window), 8 - window)):
        rows, cols = slice(row, row + window), slice(col, col + window)
        part = biases[:, rows, cols, rows, cols].reshape(3, window**2, window**2)
        assert torch.equal(small._get_rel_pos_bias()[0], part)


def test_merging_is_cut_inside_of_each_neighbour() -> None:
    """Channels beyond the smaller width are zero in all four neighbours, so they can't matter."""
    two = one(4, depth=(1, 1), num_heads=((1,), (1,)), mlp_ratio=((1,), (1,)))
    two = two.replace(window_size=((4,), (4,)), embed_dim=(8, 12))
    net = vitnas.Supernet(None, 2, 16, patch_size=2, head_dim=4, largest=two)
    merge: Any = net.extract(two.replace(embed_dim=(5, 7))).get_submodule("layers.1.downsample")
    stored: Any = net.get_submodule("layers.1.downsample")
    weight = stored.reduction.weight.detach().view(12, 4, 8)
    assert torch.equal(merge.reduction.weight.detach().view(7, 4, 5), weight[:7, :, :5])
    image = torch.randn(2, 8, 8, 5)
    wide = torch.cat([image, torch.zeros(2, 8, 8, 3)], dim=-1)
    neighbours = wide.view(2, 4, 2, 4, 2, 8).permute(0, 1, 3, 4, 2, 5)[..., :5].flatten(3)
    normed = nn.functional.layer_norm(neighbours, (20,))
    wanted = normed @ weight[:7, :, :5].reshape(7, 20).T
    torch.testing.assert_close(merge(image), wanted)


def test_tied_architectures_contain_every_tensor_of_a_space() -> None:
    """Also the merging from any width into any other, on which private tensors rest."""
    model, options = family("s3"), {"img_size": 24, "patch_size": 2}
    small = SPACE.with_values(
        depth=((1, 2), (1,), (1,)),
        mlp_ratio=(1.0,),
        window_size=((3, 6), (3,), (3,)),
        num_heads=((1, 2), (1,), (2,)),
    )
    config = vitnas.models.make_config(model, small.largest, options)

    def shapes(archs: Any) -> set[tuple[str, str, tuple[int, ...]]]:
        units = {unit for arch in archs for unit in model.units(config, arch)}
        return {
            (unit.path, name, parse(text).shape(unit.kind.size))
            for unit in units
            for name, text in model.layouts(config, unit.kind.role, False).items()
        }

    assert shapes(small.tied()) == shapes(small)


def test_a_policy_that_nobody_names_comes_from_the_family() -> None:
    net = vitnas.Supernet(SPACE, **OPTIONS)
    assert net.sharing.to_json() == {
        "*": "prefix",
        "col_distances": "centre",
        "row_distances": "centre",
    }
    assert vitnas.Supernet(SPACE, sharing="independent", **OPTIONS).sharing.to_json() == (
        "independent"
    )
    with pytest.raises(InputError, match="unknown axis in the sharing 'width'"):
        vitnas.Supernet(SPACE, sharing={"width": "centre"}, **OPTIONS)


def test_ranking_orders_each_stage_and_keeps_the_largest_net() -> None:
    net, _ = models.make(SPACE, {"embed": "ranked", "heads": "ranked"}, **OPTIONS)
    net = net.double()
    images = torch.randn(2, 3, 24, 48, dtype=torch.float64)
    before = net.extract(SPACE.largest)
    rank(net)
    with torch.no_grad():
        torch.testing.assert_close(net(images, SPACE.largest), before(images))
    after = net.extract(SPACE.largest)
    changed = {
        name
        for name, parameter in after.named_parameters()
        if not torch.equal(parameter, before.get_parameter(name))
    }
    assert {f"layers.{i}.blocks.0.norm1.weight" for i in range(3)} < changed
    assert "layers.0.blocks.0.attn.relative_position_bias_table" in changed
    assert "layers.0.blocks.0.mlp.fc1.bias" not in changed


def test_every_policy_is_drawn_from_the_same_storage() -> None:
    """Extraction takes what the layouts say, whatever the policy: shapes of the static model."""
    for sharing in POLICIES:
        net = vitnas.Supernet(SPACE, sharing=sharing, **OPTIONS)
        for seed in range(3):
            arch = SPACE.sample(seed)
            assert net.extract(arch)(torch.randn(1, 3, 24, 48)).shape == (1, 5)


@pytest.mark.parametrize("elastic", [False, True])
def test_resizing_scales_windows_and_interpolates_their_tables(elastic: bool) -> None:
    """A table's value at no distance stays; a constant table stays constant."""
    arch = SPACE.largest
    net = vitnas.Supernet(SPACE, **{**OPTIONS, "img_size": 24})
    for name, parameter in net.named_parameters():
        if name.endswith("bias_table"):
            nn.init.constant_(parameter, 0.5)
    larger: Any = resize(net if elastic else net.extract(arch), 7, 48)
    model: Any = larger.extract(arch) if elastic else larger
    assert model.get_submodule("layers.0.blocks.1").window_size == (12, 12)
    assert model.get_submodule("layers.0.blocks.1.attn").window_size == (12, 12)
    torch.testing.assert_close(table(model.layers[0].blocks[1]), torch.full((23**2, 2), 0.5))
    before = net.get_parameter("layers.1.downsample.reduction.weight")
    assert torch.equal(model.get_parameter("layers.1.downsample.reduction.weight"), before)
    assert model(torch.randn(1, 3, 48, 48)).shape == (1, 7)
    back: Any = resize(larger, img_size=24)
    back = back.extract(arch) if elastic else back
    assert back.get_submodule("layers.0.blocks.1").window_size == (6, 6)


def test_a_supernet_comes_back_from_its_folder(tmp_path: Any) -> None:
    net = vitnas.Supernet(SPACE, **OPTIONS).eval()
    back = vitnas.load(vitnas.save(net, tmp_path / "net"))
    images, arch = torch.randn(1, 3, 24, 48), SPACE.sample(5)
    assert isinstance(back, vitnas.Supernet)
    assert (back.space, back.sharing) == (net.space, net.sharing)
    with torch.no_grad():
        assert torch.equal(back(images, arch), net(images, arch))


def test_windows_that_do_not_fit_the_image_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="window_size 6 of stage 1 does not divide its 16x16"):
        vitnas.Supernet(SPACE, **{**OPTIONS, "img_size": 32})
    with pytest.raises(InputError, match="can't be halved for stage 2"):
        vitnas.Supernet(SPACE.with_values(window_size=(99,)), **{**OPTIONS, "img_size": 18})

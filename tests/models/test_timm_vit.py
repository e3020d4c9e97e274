"""Supernets of timm's ViTs: the timm model is the largest, subnets are ordinary timm models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.folder import read_config
from vitnas.models.timm_vit import around, describe, from_timm
from vitnas.resize import resize
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing import maps, models

CREATE = timm.create_model
SMALL: dict[str, Any] = {"img_size": 32, "num_classes": 7, "depth": 3}
NETS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": SMALL,
    "vit_small_patch16_224": {**SMALL, "img_size": (32, 48)},
    "deit3_small_patch16_224": SMALL,
    "vit_little_patch16_reg4_gap_256": SMALL,
    "vit_xsmall_patch16_clip_224": {**SMALL, "num_classes": 0},
    "test_vit2": {**SMALL, "drop_path_rate": 0.1, "in_chans": 1},
}


def timm_net(name: str) -> Any:
    """Return a timm model, every parameter far from its initial value."""
    torch.manual_seed(0)
    model = CREATE(name, **NETS[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=NETS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def supernet_of(name: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Supernet:
    """Return what from_timm makes of `timm_net(name)`."""
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: timm_net(name))
    return from_timm(name, **options).eval()


def images_of(net: Supernet) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, net.config.in_chans, *net.config.img_size, generator=generator)


def test_the_largest_subnet_is_the_timm_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm_net(name)
    plain = supernet_of(name, monkeypatch, sharing="prefix")
    ranked = supernet_of(name, monkeypatch)
    images = images_of(plain)
    with torch.no_grad():
        wanted = model(images)
        assert torch.equal(plain(images, plain.largest), wanted)
        torch.testing.assert_close(ranked(images, ranked.largest), wanted, rtol=1e-4, atol=1e-4)
    assert plain.state_dict().keys() == model.state_dict().keys()


def test_subnets_extract_to_ordinary_timm_models(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = supernet_of(name, monkeypatch)
    assert net.space is not None
    archs = [net.space.smallest, net.space.sample(0)]
    images = images_of(net)
    models.check_bit_identical(net, archs, images)
    models.check_params(net, archs)
    maps.check_shapes(net, archs[:1])
    model: Any = net.extract(archs[0])
    assert type(model) is timm.models.VisionTransformer
    assert all(type(m).__module__.split(".")[0] in ("timm", "torch") for m in model.modules())
    assert model.forward_features(images).shape[-1] == archs[0].embed_dim
    model.reset_classifier(3)
    assert model(images).shape == (2, 3)


def test_values_are_true(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = supernet_of(name, monkeypatch, sharing="prefix")
    assert net.space is not None
    images = images_of(net)
    maps.check_masking(net, [net.space.smallest, net.space.sample(0)], images)
    axes = ("embed", "heads", "hidden") if net.config.num_classes else ("heads", "hidden")
    maps.check_symmetry(net, images, axes)


def test_default_space_and_description() -> None:
    with torch.device("meta"):
        model = CREATE("deit3_small_patch16_224")
    arch, options = describe(model, "deit3")
    assert arch == Arch("vit", depth=12, mlp_ratio=(4,) * 12, num_heads=(6,) * 12, embed_dim=384)
    assert options["no_embed_class"] is True
    assert options["init_values"] == 1e-6
    space = around(arch)
    assert space.largest == arch
    assert space["depth"].values == (8, 9, 10, 11, 12)
    assert space["embed_dim"].values == (192, 288, 384)
    assert space["num_heads"].values == (3, 4, 6)
    assert space["mlp_ratio"].values == (2.0, 3.0, 4.0)


def test_a_width_that_a_ratio_truncates_below_is_kept() -> None:
    """int(embed * (hidden / embed)) misses hidden by one in some cases; the ratio makes up."""
    wrong = [(e, h) for e in range(24, 400, 8) for h in range(8, 4 * e, 8) if int(e * (h / e)) != h]
    embed, hidden = wrong[0]
    model = timm.models.VisionTransformer(
        img_size=32, embed_dim=embed, depth=1, num_heads=2, mlp_ratio=1.0
    )
    model.blocks[0].mlp = timm.layers.Mlp(embed, hidden)
    arch, options = describe(model, "odd")
    net = Supernet(None, largest=arch, static=model, **options)
    assert net.units(arch)[1].kind.size["hidden"] == hidden


def test_drop_path_is_the_models_ramp() -> None:
    net = Supernet.from_timm("test_vit2", drop_path_rate=0.3)
    assert net.space is not None
    shallow = net.extract(net.space.smallest)
    rates = [getattr(b.drop_path1, "drop_prob", 0.0) for b in shallow.get_submodule("blocks")]  # type: ignore[attr-defined]
    step = 0.3 / (net.largest.depth - 1)
    assert rates == pytest.approx([step * i for i in range(net.space.smallest.depth)])


def _last_matters() -> tuple[Any, Tensor]:
    """Return a ViT whose heads and MLP units but for the last half are nearly idle, and images."""
    torch.manual_seed(0)
    model = CREATE("test_vit2", img_size=48).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        for block in model.blocks:
            heads, width = block.attn.num_heads, block.attn.head_dim
            idle = (heads - heads // 2) * width
            block.attn.qkv.weight.view(3, heads * width, -1)[:, :idle] *= 0.02
            block.attn.qkv.bias.view(3, heads * width)[:, :idle] *= 0.02
            block.attn.proj.weight[:, :idle] *= 0.02
            units = block.mlp.fc1.out_features // 2
            block.mlp.fc1.weight[:units] *= 0.02
            block.mlp.fc1.bias[:units] *= 0.02
            block.mlp.fc2.weight[:, :units] *= 0.02
    return model, torch.randn(16, 3, 48, 48)


@pytest.mark.parametrize("by_data", [False, True])
def test_ranking_keeps_what_matters(by_data: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the units are nearly idle and come first: a prefix keeps them, ranked does not."""
    model, images = _last_matters()
    with torch.no_grad():
        wanted = model(images)
    largest, _ = describe(model, "test_vit2")
    space = Space(
        "vit",
        (
            Choice("depth", (largest.depth,)),
            Choice("mlp_ratio", (largest.mlp_ratio[0] / 2, largest.mlp_ratio[0]), "block"),
            Choice("num_heads", (largest.num_heads[0] // 2, largest.num_heads[0]), "block"),
            Choice("embed_dim", (largest.embed_dim,)),
        ),
    )
    off = {}
    for sharing in ("prefix", "ranked"):
        monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: _last_matters()[0])
        net = from_timm("test_vit2", space, sharing=sharing).eval()
        if by_data and sharing == "ranked":
            from vitnas.ranking import rank

            rank(net, [(images, wanted.argmax(1))])
        with torch.no_grad():
            torch.testing.assert_close(net(images, largest), wanted, rtol=1e-3, atol=1e-3)
            off[sharing] = (net(images, space.smallest) - wanted).norm() / wanted.norm()
    assert off["ranked"] < 0.2 * off["prefix"]


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vit_base_patch16_siglip_224",
        "vit_giant_patch14_dinov2",
        "vit_small_patch16_18x2_224",
        "vit_srelpos_small_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "vit_base_r50_s16_224",
        "vit_dwee_patch16_reg1_gap_256",
        "eva02_tiny_patch14_224",
    ],
)
def test_models_that_are_no_plain_vit_are_refused(name: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=f"{name} is not a plain timm ViT"):
        from_timm(name)


def test_a_vit_without_a_final_norm_is_taken_over() -> None:
    net = from_timm("vit_tiny_patch16_224", img_size=32, final_norm=False, num_classes=3).eval()
    model = net.extract(net.largest)
    assert isinstance(model.norm, nn.Identity)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(net(images, net.largest), model(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"act_layer": "quick_gelu"}, "blocks.0.mlp.act is QuickGELU(), not GELU("),
        ({"norm_layer": "rmsnorm"}, "blocks.0.norm1 is RmsNorm(), not LayerNorm("),
        ({"drop_rate": 0.1}, "head_drop.p is 0.1, not 0.0"),
        ({"pos_drop_rate": 0.1}, "pos_drop.p is 0.1, not 0.0"),
        ({"proj_bias": False}, "blocks.0.attn.proj.bias is missing"),
        ({"pool_include_prefix": True}, "pool_include_prefix is True, not False"),
        ({"scale_mlp_norm": True}, "blocks.0.mlp.norm is LayerNorm("),
        ({"patch_size": (8, 16)}, "patches of 8x16 are not supported; they must be square"),
        ({"global_pool": "max"}, "is not a plain timm ViT or DeiT (class VisionTransformer with"),
    ],
)
def test_parts_that_the_plain_vit_lacks_are_named(options: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=re.escape(message)):
        from_timm("vit_tiny_patch16_224", img_size=32, **options)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        Supernet.from_timm("vit_tinny_patch16_224")
    message = str(caught.value)
    assert message.startswith(
        "unknown timm model 'vit_tinny_patch16_224'; did you mean 'vit_tiny_patch16_224'? ("
    )
    assert len(message) < 300


def test_missing_pretrained_weights_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"^timm can't create vit_tiny_patch16_224: no route to"):
        from_timm("vit_tiny_patch16_224", pretrained=True)


def test_spaces_of_another_family_or_size_are_refused() -> None:
    with pytest.raises(InputError, match="the space is of family autoformer; a timm ViT needs"):
        from_timm("test_vit2", vitnas.space("autoformer-tiny"))
    wide = Space(
        "vit",
        (
            Choice("depth", (2,)),
            Choice("mlp_ratio", (3.0,), "block"),
            Choice("num_heads", (2,), "block"),
            Choice("embed_dim", (128,)),
        ),
    )
    with pytest.raises(InputError, match="embed of stem and head is 128, the supernet has 64"):
        from_timm("test_vit2", wide)


def test_dynamic_image_sizes_are_fixed_to_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    net = supernet_of("test_vit2", monkeypatch, sharing="prefix")
    model = timm_net("test_vit2")
    assert model.dynamic_img_size
    assert not net.extract(net.largest).dynamic_img_size
    with torch.no_grad():
        images = images_of(net)
        assert torch.equal(net(images, net.largest), model(images))


def test_the_input_of_pretrained_weights_travels(tmp_path: Path) -> None:
    """Timm's augreg ViTs are normalised by 0.5, not by ImageNet's statistics."""
    net = from_timm("vit_tiny_patch16_224", **SMALL)
    assert net.space is not None
    vitnas.save(net.extract(net.space.smallest), tmp_path / "subnet")
    vitnas.save(net, tmp_path / "net")
    loaded = vitnas.load(tmp_path / "net")
    assert isinstance(loaded, Supernet)
    vitnas.save(resize(loaded, img_size=48), tmp_path / "resized")
    vitnas.save(resize(vitnas.load(tmp_path / "subnet"), img_size=48), tmp_path / "small")
    for name, size in (("subnet", 32), ("net", 32), ("resized", 48), ("small", 48)):
        given = read_config(tmp_path / name)["input"]
        assert given["mean"] == [0.5, 0.5, 0.5]
        assert given["img_size"] == [size, size]
        assert given["crop_pct"] == 0.9

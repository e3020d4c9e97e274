"""The static ViTAS: timm's ViT bit for bit where the two can be compared, and what is its own."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import vitnas
from vitnas.arch import Arch
from vitnas.nn.vitas import BLOCK_EPS, FINAL_EPS, ViTAS, block

ARCH = Arch(
    "vitas",
    depth=3,
    num_heads=(3, 1, 4),
    attn_dim=(12, 15, 8),
    mlp_dim=(20, 7, 31),
    embed_dim=22,
    patch_size=4,
)


def random(model: nn.Module) -> nn.Module:
    """Return the model, every parameter moved away from zero and one."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def test_with_equal_blocks_it_is_timms_vit_bit_for_bit() -> None:
    theirs: Any = random(timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=2))
    theirs.norm.eps = FINAL_EPS
    genes = {"num_heads": (3, 3), "attn_dim": (192, 192), "mlp_dim": (768, 768)}
    arch = Arch("vitas", depth=2, embed_dim=192, patch_size=16, **genes)
    ours: Any = vitnas.build(arch, num_classes=10).eval()
    assert isinstance(ours, type(theirs))
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))
        features = ours.forward_intermediates(images, indices=[1], intermediates_only=True)
        wanted = theirs.forward_intermediates(images, indices=[1], intermediates_only=True)
        assert torch.equal(features[0], wanted[0])
    assert ours.feature_info == theirs.feature_info
    for name in ("num_features", "num_classes", "head_hidden_size", "patch_embed", "head"):
        assert str(getattr(ours, name)) == str(getattr(theirs, name))


def explicit(attn: Any, x: Tensor, scale: float) -> Tensor:
    """Return attention by its definition, head by head."""
    q, k, v = attn.qkv(x).chunk(3, dim=-1)
    width = q.shape[-1] // attn.num_heads
    heads = zip(*(part.split(width, dim=-1) for part in (q, k, v)), strict=True)
    found = [(q @ k.transpose(1, 2) * scale).softmax(dim=-1) @ v for q, k, v in heads]
    out: Tensor = attn.proj(torch.cat(found, dim=-1))
    return out


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_of_any_width_and_scale(split: bool, scale: float | None) -> None:
    sizes: Any = {"num_heads": 3, "attn_dim": 15, "mlp_dim": 9}
    made: Any = random(block(8, **sizes, attn_scale=scale, split_qkv=split)).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    wanted = explicit(made.attn, x, 5**-0.5 if scale is None else scale)
    torch.testing.assert_close(made.attn(x), wanted, rtol=1e-9, atol=1e-12)
    made.attn.fused_attn = False
    torch.testing.assert_close(made.attn(x), wanted, rtol=1e-9, atol=1e-12)


def test_a_split_projection_is_the_fused_one_in_two_parts() -> None:
    sizes: Any = {"num_heads": 2, "attn_dim": 10, "mlp_dim": 9}
    split: Any = random(block(8, **sizes, split_qkv=True)).double()
    fused: Any = block(8, **sizes).double()
    state = split.state_dict()
    for part in ("weight", "bias"):
        rows = [state.pop(f"attn.qkv.{name}.{part}") for name in ("qk", "v")]
        state[f"attn.qkv.{part}"] = torch.cat(rows)
    fused.load_state_dict(state)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(split(x), fused.eval()(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("last", [False, True])
def test_only_a_table_of_positions_tells_the_order_of_patches(last: bool) -> None:
    model = random(vitnas.build(ARCH, 5, 16, last_position=last)).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    patches = images.unflatten(2, (4, 4)).unflatten(4, (4, 4)).permute(0, 1, 2, 4, 3, 5)
    mixed = patches.flatten(2, 3)[:, :, torch.randperm(16)].unflatten(2, (4, 4))
    other = mixed.permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)
    with torch.no_grad():
        change = (model(images) - model(other)).abs().max().item()
    assert (change < 1e-12) if last else (change > 1e-3)


def test_the_last_position_is_added_to_every_token() -> None:
    model: Any = random(vitnas.build(ARCH, 5, 16, last_position=True))
    images = torch.randn(1, 3, 16, 16)
    tokens = model._pos_embed(model.patch_embed(images))
    plain = torch.cat([model.cls_token, model.patch_embed(images)], dim=1)
    torch.testing.assert_close(tokens, plain + model.pos_embed[:, -1:])


def test_eps_and_initialisation() -> None:
    """Linear weights and positions have std 0.02, biases 0; the patches' convolution is torch's."""
    torch.manual_seed(0)
    model: Any = vitnas.build(vitnas.Arch("vitas", **{**ARCH, "embed_dim": 230}), 100, 64)
    assert {norm.eps for b in model.blocks for norm in (b.norm1, b.norm2)} == {BLOCK_EPS}
    assert model.norm.eps == FINAL_EPS
    for name, parameter in model.named_parameters():
        if name == "patch_embed.proj.weight":
            assert parameter.std().item() == pytest.approx(48**-0.5 / 3**0.5, rel=0.05)
        elif name == "cls_token":
            assert parameter.std().item() == pytest.approx(1e-6, rel=0.2)
        elif parameter.ndim > 1:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name
        elif name != "patch_embed.proj.bias":
            assert torch.all(parameter == float("norm" in name and name.endswith("weight"))), name
    assert isinstance(model, ViTAS)

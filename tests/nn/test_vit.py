"""The builders of static models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitnas.nn.vit import block, vit


def test_a_block_has_any_width_of_heads_and_mlp() -> None:
    made = block(20, num_heads=3, head_dim=8, hidden_dim=33, init_values=0.1, drop_path=0.2)
    assert made.attn.qkv.weight.shape == (72, 20)
    assert made.attn.proj.weight.shape == (20, 24)
    assert made.mlp.fc1.weight.shape == (33, 20)
    assert made.drop_path1.drop_prob == 0.2
    assert made(torch.randn(2, 5, 20)).shape == (2, 5, 20)


def test_a_plain_block_is_timms_and_the_other_keeps_less() -> None:
    sizes: dict[str, Any] = {"embed_dim": 16, "num_heads": 2, "head_dim": 8, "hidden_dim": 64}
    plain, relative = block(**sizes), block(**sizes, grid=(2, 2), relative_position=True)
    assert {type(m).__module__.split(".")[0] for m in plain.modules()} <= {"timm", "torch"}
    relative.mlp.load_state_dict(plain.mlp.state_dict())
    x = torch.randn(3, 5, 16, requires_grad=True)
    kept: list[list[int]] = []
    found = []

    def keep(tensor: Tensor) -> Tensor:
        kept[-1].append(tensor.numel())
        return tensor

    for mlp in (plain.mlp, relative.mlp):
        kept.append([])
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = mlp(x)
        found.append((out, *torch.autograd.grad(out.sin().sum(), [x, *mlp.parameters()])))
    assert [numbers.count(3 * 5 * 64) for numbers in kept] == [2, 1]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("relative", [True, False])
def test_norms_can_follow_the_residual_sums(relative: bool) -> None:
    sizes: dict[str, Any] = {"embed_dim": 16, "num_heads": 2, "head_dim": 8, "hidden_dim": 24}
    grid: dict[str, Any] = {"grid": (2, 2), "relative_position": relative}
    post, pre = block(**sizes, **grid, post_norm=True), block(**sizes, **grid)
    pre.load_state_dict(post.state_dict())
    x = torch.randn(3, 5, 16)
    attended = post.norm1(x + post.attn(x))
    wanted = post.norm2(attended + post.mlp(attended))
    with torch.no_grad():
        assert torch.equal(post(x), wanted)
        assert not torch.allclose(pre(x), wanted, atol=0.1)


def test_the_final_norm_can_be_left_out() -> None:
    net = _net(final_norm=False).eval()
    assert not [name for name, _ in net.named_parameters() if name.startswith("norm.")]
    images = torch.randn(2, 3, 8, 12)
    tokens = net.forward_features(images)
    assert torch.equal(net(images), net.head(tokens[:, 1:].mean(dim=1)))


def test_heads_must_divide_a_fixed_attention_width() -> None:
    made = block(20, num_heads=2, head_dim=64, hidden_dim=8, attn_dim=24, attn_scale=0.5)
    assert (made.attn.head_dim, made.attn.scale) == (12, 0.5)
    with pytest.raises(ValueError, match="5 heads don't divide the fixed q-k-v width 24"):
        block(20, num_heads=5, head_dim=64, hidden_dim=8, attn_dim=24)


def _net(**options: Any) -> VisionTransformer:
    blocks = [
        {"num_heads": 1, "hidden_dim": 16, "drop_path": 0.0},
        {"num_heads": 3, "hidden_dim": 40, "drop_path": 0.1},
    ]
    given: dict[str, Any] = {
        "img_size": (8, 12),
        "patch_size": 4,
        "in_chans": 3,
        "num_classes": 7,
        "embed_dim": 24,
        "pool": "avg",
        "head_dim": 8,
        "blocks": blocks,
    }
    return vit(**{**given, **options})


def test_a_vit_of_unequal_blocks_works_as_timms() -> None:
    net = _net(relative_position=True, class_token=True)
    assert type(net) is VisionTransformer
    images = torch.randn(2, 3, 8, 12)
    assert net(images).shape == (2, 7)
    assert net.forward_features(images).shape == (2, 7, 24)
    features = net.forward_intermediates(images, intermediates_only=True)
    assert [feature.shape for feature in features] == [(2, 24, 2, 3)] * 2
    net.reset_classifier(3)
    assert net(images).shape == (2, 3)


def test_initialisation_is_autoformers() -> None:
    torch.manual_seed(0)
    net = _net(embed_dim=192, cls_std=0.02, relative_position=True, blocks=_net_blocks(8, 768))
    tables = [p for name, p in net.named_parameters() if ".rel_" in name]
    for weight in (net.blocks[0].mlp.fc1.weight, net.blocks[0].attn.qkv.weight, *tables):
        assert 0.015 < weight.std() < 0.025
    assert 0.015 < net.cls_token.std() < 0.025
    assert net.blocks[0].mlp.fc1.bias.abs().max() == 0
    assert net.blocks[0].norm1.weight.min() == 1


def _net_blocks(heads: int, hidden: int) -> list[dict[str, Any]]:
    return [{"num_heads": heads, "hidden_dim": hidden, "drop_path": 0.0}]

"""Ranking: the largest net's function stays, the order is that of the scores, banks follow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from vitnas.errors import InputError
from vitnas.ranking import rank
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing import maps, models

SPACE = Space(
    "autoformer",
    (
        Choice("depth", (2,)),
        Choice("mlp_ratio", (1.0, 2.0), "block"),
        Choice("num_heads", (1, 2, 3), "block"),
        Choice("embed_dim", (16, 24)),
    ),
)
OPTIONS: dict[str, Any] = {"num_classes": 5, "img_size": 16, "patch_size": 4, "head_dim": 8}
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.tensor([0, 1, 2, 3])

ROOT = {"patch_embed.proj.weight": 0, "patch_embed.proj.bias": 0, "cls_token": 2, "pos_embed": 2}
ROOT |= {"norm.weight": 0, "norm.bias": 0, "head.weight": 1}
BLOCK = {"norm1.weight": 0, "norm1.bias": 0, "attn.qkv.weight": 1, "attn.proj.weight": 0}
BLOCK |= {"attn.proj.bias": 0, "norm2.weight": 0, "norm2.bias": 0, "mlp.fc1.weight": 1}
BLOCK |= {"mlp.fc2.weight": 0, "mlp.fc2.bias": 0}
EMBED = ROOT | {f"blocks.{i}.{name}": dim for i in (0, 1) for name, dim in BLOCK.items()}
"""Where the channels are in each parameter."""


def make(sharing: Any = "ranked", **options: Any) -> Supernet:
    return models.make(SPACE, sharing, **{**OPTIONS, **options})[0].double()


def along(scores: Tensor, dim: int) -> Tensor:
    """Return the sums over all other dimensions."""
    return scores.detach().movedim(dim, 0).reshape(scores.shape[dim], -1).sum(1)


def energy(net: Supernet, name: str, dim: int) -> Tensor:
    return along(net.get_parameter(name).pow(2), dim)


def assert_falling(scores: Tensor) -> None:
    torch.testing.assert_close(scores, scores.sort(descending=True).values)


def copied(net: Supernet) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def moved(net: Supernet, before: dict[str, Tensor]) -> set[str]:
    """Return the names of what is not as before."""
    return {name for name, value in net.state_dict().items() if not value.equal(before[name])}


@pytest.mark.parametrize("batches", [None, [(IMAGES, LABELS)]])
def test_the_largest_net_keeps_its_function(batches: Any) -> None:
    net = make()
    before, state = net(IMAGES, net.largest), copied(net)
    rank(net, batches)
    torch.testing.assert_close(net(IMAGES, net.largest), before, rtol=1e-9, atol=1e-9)
    changed = moved(net, state)
    assert {"pos_embed", "head.weight", "blocks.0.attn.qkv.weight"} <= changed
    assert not any(".rel_" in name for name in changed)
    maps.check_masking(net, [SPACE.smallest], IMAGES)


def test_entries_are_ordered_by_the_sum_of_their_squared_weights() -> None:
    net = make()
    rank(net)
    assert_falling(torch.stack([energy(net, name, dim) for name, dim in EMBED.items()]).sum(0))
    for block in ("blocks.0", "blocks.1"):
        units = (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1))
        parts = [energy(net, f"{block}.mlp.{name}", dim) for name, dim in units]
        assert_falling(torch.stack(parts).sum(0))
        weight, bias, out = (
            net.get_parameter(f"{block}.attn.{name}").detach().pow(2)
            for name in ("qkv.weight", "qkv.bias", "proj.weight")
        )
        heads = weight.view(3, 3, -1).sum((0, 2)) + bias.view(3, 3, 8).sum((0, 2))
        assert_falling(heads + out.view(24, 3, 8).sum((0, 2)))


def test_with_data_the_order_is_that_of_weight_times_gradient() -> None:
    net = make({"hidden": "ranked"})
    batches = [(IMAGES, LABELS), (IMAGES + 1, LABELS)]
    rank(net, batches)
    totals = torch.zeros(48, dtype=torch.float64)
    for images, labels in batches:
        loss = cross_entropy(net(images, net.largest), labels)
        for name, dim in (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1)):
            parameter = net.get_parameter(f"blocks.0.mlp.{name}")
            (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
            totals += along((parameter * gradient).pow(2), dim)
    assert_falling(totals)


def test_only_ranked_axes_move() -> None:
    net = make({"*": "prefix", "heads": "ranked"})
    before = copied(net)
    rank(net)
    changed = {name.partition("attn.")[2] for name in moved(net, before)}
    assert changed == {"qkv.weight", "qkv.bias", "proj.weight"}


def test_private_tensors_follow_the_axes_that_they_share() -> None:
    """Banks start as slices, so subnets of a private size stay slices of the ranked largest."""
    net = make({"*": "ranked", "hidden": "independent"})
    assert any("banks" in name for name in net.state_dict())
    rank(net)
    fresh = Supernet(SPACE, sharing={"*": "ranked", "hidden": "prefix"}, **OPTIONS).double().eval()
    fresh.load_state_dict({k: v for k, v in net.state_dict().items() if "banks" not in k})
    for arch in (SPACE.smallest, SPACE.sample(0), SPACE.largest):
        assert torch.equal(net(IMAGES, arch), fresh(IMAGES, arch))


def test_without_a_head_channels_keep_their_order() -> None:
    net = make(num_classes=0)
    before = net(IMAGES, net.largest)
    rank(net)
    torch.testing.assert_close(net(IMAGES, net.largest), before, rtol=1e-9, atol=1e-9)


def test_axes_that_no_parameter_has_are_left_alone() -> None:
    """With a fixed attention width, heads only divide it."""
    net = make(fixed_attn_dim=24, relative_position=False)
    before = net(IMAGES, net.largest)
    rank(net)
    torch.testing.assert_close(net(IMAGES, net.largest), before, rtol=1e-9, atol=1e-9)


def test_no_batch_is_refused() -> None:
    with pytest.raises(InputError, match="ranking by data needs at least one batch"):
        rank(make(), [])

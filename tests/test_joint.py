"""Subnets that begin alike are run once, and compute the very bits that they compute alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitnas import joint
from vitnas.arch import Arch
from vitnas.elastic import ElasticBlock
from vitnas.errors import InputError
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing.models import make

DEPTHS, RATIOS, HEADS, WIDTHS = (1, 2, 3), (1.0, 2.0), (1, 2), (16, 24)


def _net(family: str, sharing: Any = "prefix") -> Supernet:
    space = Space(
        family,
        (
            Choice("depth", DEPTHS),
            Choice("mlp_ratio", RATIOS, "block"),
            Choice("num_heads", HEADS, "block"),
            Choice("embed_dim", WIDTHS),
        ),
    )
    net, _ = make(space, sharing, num_classes=4, img_size=(8, 12), patch_size=4, head_dim=8)
    return net.eval()


def _arch(net: Supernet, width: int, *blocks: tuple[int, float]) -> Arch:
    heads, ratios = zip(*blocks, strict=True)
    return Arch(
        net.largest.family,
        depth=len(blocks),
        mlp_ratio=ratios,
        num_heads=heads,
        embed_dim=width,
    )


def _archs(net: Supernet) -> list[Arch]:
    return [
        _arch(net, 16, (1, 1.0), (2, 1.0)),
        _arch(net, 24, (1, 1.0), (2, 1.0)),
        _arch(net, 16, (1, 1.0)),  # the beginning of the first
        _arch(net, 16, (1, 1.0), (2, 1.0), (1, 2.0)),  # goes on where the first ends
        _arch(net, 16, (1, 1.0), (2, 2.0), (1, 2.0)),
        _arch(net, 16, (2, 1.0), (2, 1.0), (1, 2.0)),
    ]


def _images(count: int = 5) -> Tensor:
    return torch.randn(count, 3, 8, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["vit", "autoformer"])
@pytest.mark.parametrize(
    "sharing", ["prefix", "bilateral", {"embed": "independent", "heads": "suffix"}]
)
def test_logits_are_the_same_bits(family: str, sharing: Any) -> None:
    net, images = _net(family, sharing), _images()
    archs = _archs(net)
    with torch.no_grad():
        found = dict(joint.forward(net, joint.trie(net, archs), images))
        sides = ("left", "right") if sharing == "bilateral" else (None,)
        assert set(found) == {(arch, side) for arch in archs for side in sides}
        for (arch, side), logits in found.items():
            assert torch.equal(logits, net(images, arch, side))
            assert torch.equal(logits, net.extract(arch, side)(images))


def test_each_unit_of_the_trie_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, calls = _net("vit"), 0
    run = ElasticBlock.forward

    def counted(self: ElasticBlock, *args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return run(self, *args)

    monkeypatch.setattr(ElasticBlock, "forward", counted)
    archs = _archs(net)
    roots = joint.trie(net, [*archs, archs[0]])
    assert [len(root.subnets) for root in roots] == [0, 0]
    assert [len(root) for root in roots] == [1 + 2 + 1 + 2 + 3, 1 + 2]
    with torch.no_grad():
        found = [arch for (arch, _), _ in joint.forward(net, roots, _images())]
    assert calls == 10
    assert len(found) == 7
    assert found.count(archs[0]) == 2


def test_sides_share_a_unit_only_where_both_are_equal() -> None:
    """With heads bilateral, stem and blocks of all heads have one side; what follows has two."""
    net = _net("autoformer", {"*": "prefix", "heads": "bilateral"})
    full, few = (2, 1.0), (1, 1.0)
    (root,) = joint.trie(net, [_arch(net, 16, full, few, full)])
    (first,) = root.next
    assert (root.side, first.side, len(first.next)) == ("left", "left", 2)
    assert [node.side for node in first.next] == ["left", "right"]
    assert [last.side for node in first.next for last in node.next] == ["left", "left"]
    assert len(root) == 2 + 2 * 2
    (alone,) = joint.trie(net, [_arch(net, 16, full, full)])
    assert len(alone) == 3
    (largest,) = joint.trie(_net("autoformer", "bilateral"), [net.space.largest])  # type: ignore[union-attr]
    assert len(largest) == 4


def test_wrapped_blocks_are_called_as_they_are() -> None:
    class Wrapper(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block, self.calls = block, 0

        def program(self, *args: Any) -> Any:
            return self.block.program(*args)  # type: ignore[operator]

        def forward(self, x: Tensor, program: Any) -> Tensor:
            self.calls += 1
            result: Tensor = self.block(x, program)
            return result

    net, images = _net("autoformer"), _images()
    archs = _archs(net)
    with torch.no_grad():
        plain = [net(images, arch) for arch in archs]
        wrapper = Wrapper(net.get_submodule("blocks.0"))
        net.set_submodule("blocks.0", wrapper)
        found = dict(joint.forward(net, joint.trie(net, archs), images))
    assert wrapper.calls == 3
    assert all(
        torch.equal(found[arch, None], logits) for arch, logits in zip(archs, plain, strict=True)
    )


def test_an_arch_outside_of_the_space_is_refused_before_anything_runs() -> None:
    net = _net("vit")
    with pytest.raises(InputError, match="embed_dim"):
        joint.trie(net, [*_archs(net), _arch(net, 20, (1, 1.0))])
    assert joint.trie(net, []) == ()

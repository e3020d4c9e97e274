"""The conformance suite on supernets with two sides: mixed policies, and what must fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitnas.arch import Arch
from vitnas.sharing import POLICIES, Policy
from vitnas.supernet import Supernet
from vitnas.testing import maps, models

from . import patches
from .families import OPTIONS, space

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SPACE = space("vit")
ARCHS = [SPACE.smallest, SPACE.largest, SPACE.sample(0)]


@pytest.fixture
def net() -> Supernet:
    return models.make(SPACE, "bilateral", **OPTIONS)[0]


@pytest.mark.parametrize(
    ("family", "sharing"),
    [
        ("autoformer", {"*": "prefix", "embed": "bilateral"}),
        ("autoformer", {"*": "legacy", "hidden": "bilateral"}),
        ("vit", {"*": "bilateral", "hidden": "independent"}),
        ("s3", {"embed1": "bilateral", "heads": "bilateral"}),
        ("s3", {"*": "bilateral", "row_distances": "prefix", "col_distances": "prefix"}),
    ],
)
def test_mixed_policies_conform_on_both_sides(family: str, sharing: Any) -> None:
    models.check_model(space(family), sharing, standalone=False, graphs=False, **OPTIONS)


def test_private_sizes_conform_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    own = patches.register(monkeypatch)
    sharing = {"*": "bilateral", **patches.PRIVATE}
    models.check_model(own, sharing, axes=("embed", "hidden"), standalone=False, **patches.OPTIONS)


def test_a_side_that_is_not_there_is_caught(net: Supernet) -> None:
    net.sides = lambda arch: ("left", "right")  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="has the sides left, not"):
        models.check_sides(net, ARCHS)
    net.sides = lambda arch: ("left",)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="has the sides left, right, not"):
        models.check_sides(net, ARCHS)


def test_another_default_than_left_is_caught(net: Supernet) -> None:
    state = net.subnet_state

    def right(arch: Arch, side: Any = None) -> Any:
        return state(arch, side or "right")

    net.subnet_state = right  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="None is not left"):
        models.check_sides(net, ARCHS)


def test_sides_without_a_bilateral_axis_are_caught() -> None:
    net, _ = models.make(SPACE, **OPTIONS)
    state = net.subnet_state
    net.subnet_state = lambda arch, side=None: state(arch)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="no axis is bilateral, but a side is taken"):
        models.check_sides(net, ARCHS)


def test_a_right_side_that_runs_the_left_is_caught(net: Supernet) -> None:
    forward = net.forward
    net.forward = lambda x, arch, side=None: forward(x, arch)  # type: ignore[method-assign]
    models.check_bit_identical(net, [SPACE.largest], IMAGES)
    with pytest.raises(AssertionError, match=r"has other logits: .*, right"):
        models.check_bit_identical(net, ARCHS, IMAGES)


def test_a_right_side_that_does_not_end_with_the_storage_is_caught(
    net: Supernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slice is cut with the policy as it was; the oracle masks with what it should be."""
    maps.check_masking(net, ARCHS, IMAGES)
    early = Policy(lambda largest, n: max(largest - n - 1, 0))
    monkeypatch.setitem(POLICIES, "suffix", early)
    with pytest.raises(AssertionError, match="the masked largest model is not the subnet"):
        maps.check_masking(net, ARCHS, IMAGES)

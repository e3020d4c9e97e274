"""The checks of an axis map catch what they are for: missing, misshapen and swapped layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitnas.models import Kind
from vitnas.models.vit import FAMILY
from vitnas.testing import maps, models

from .families import OPTIONS, register, space

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def _swapped(found: dict[str, str]) -> dict[str, str]:
    return {name: text.replace("qkv heads", "heads qkv") for name, text in found.items()}


def test_a_swapped_layout_has_the_right_shapes_but_wrong_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swapped = register(monkeypatch, "swapped", _swapped)
    net, _ = models.make(swapped, **OPTIONS)
    archs = [swapped.smallest, swapped.largest, swapped.sample(0)]
    maps.check_complete(net, archs)
    maps.check_shapes(net, archs)
    models.check_bit_identical(net, archs, IMAGES)
    with pytest.raises(AssertionError, match="the masked largest model is not the subnet"):
        maps.check_masking(net, archs, IMAGES)
    with pytest.raises(AssertionError, match="reordering heads changes the function"):
        maps.check_symmetry(net, IMAGES)
    maps.check_symmetry(net, IMAGES, axes=("embed", "hidden"))


@pytest.mark.parametrize(
    ("old", "new", "axis"),
    [
        ("embed (heads head_dim)", "embed (head_dim heads)", "heads"),
        ("hidden embed", "(hidden) embed", None),
    ],
)
def test_the_order_inside_a_dimension_matters(
    old: str, new: str, axis: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = register(
        monkeypatch,
        f"order_{axis}",
        lambda found: {name: new if text == old else text for name, text in found.items()},
    )
    net, _ = models.make(own, **OPTIONS)
    if axis is None:
        maps.check_symmetry(net, IMAGES)
        return
    with pytest.raises(AssertionError, match=f"reordering {axis} changes the function"):
        maps.check_symmetry(net, IMAGES)


def test_a_missing_layout_stops_the_supernet(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(found: dict[str, str]) -> dict[str, str]:
        return {name: text for name, text in found.items() if name != "mlp.fc1.bias"}

    own = register(monkeypatch, "missing", without)
    with pytest.raises(ValueError, match=r"no layout for blocks\.0\.mlp\.fc1\.bias; no layout"):
        models.make(own, **OPTIONS)


def test_a_layout_without_parameter_stops_the_supernet(monkeypatch: pytest.MonkeyPatch) -> None:
    own = register(monkeypatch, "unused", lambda found: {**found, "gamma": "embed"})
    with pytest.raises(ValueError, match=r"no parameter for layout blocks\.0\.gamma"):
        models.make(own, **OPTIONS)


def test_a_misshapen_layout_stops_the_supernet(monkeypatch: pytest.MonkeyPatch) -> None:
    def transposed(found: dict[str, str]) -> dict[str, str]:
        return {n: "embed hidden" if t == "hidden embed" else t for n, t in found.items()}

    own = register(monkeypatch, "transposed", transposed)
    message = r"mlp\.fc1\.weight is \(48, 24\), its layout 'embed hidden' gives \(24, 48\)"
    with pytest.raises(ValueError, match=message):
        models.make(own, **OPTIONS)


def test_a_parameter_that_comes_with_a_size_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_unit(config: Any, kind: Kind) -> nn.Module:
        module = FAMILY.build_unit(config, kind)
        if kind.size.get("heads") == 1:
            module.register_parameter("gate", nn.Parameter(torch.ones(1)))
        return module

    own = register(monkeypatch, "gated", build_unit=build_unit)
    net, _ = models.make(own, **OPTIONS)
    maps.check_complete(net, [own.largest])
    with pytest.raises(AssertionError, match="no layout for gate"):
        maps.check_complete(net, [own.smallest])


def test_a_forgotten_axis_is_caught_by_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    def rigid(found: dict[str, str]) -> dict[str, str]:
        return {name: "48" if name == "mlp.fc1.bias" else text for name, text in found.items()}

    own = register(monkeypatch, "rigid", rigid)
    net, _ = models.make(own, **OPTIONS)
    maps.check_shapes(net, [own.largest])
    with pytest.raises(AssertionError, match=r"mlp\.fc1\.bias: '48' gives \(48,\), it is \(16,\)"):
        maps.check_shapes(net, [own.smallest])


def test_the_masking_check_refuses_to_check_nothing() -> None:
    own = space("vit")
    net, _ = models.make(own, **OPTIONS)
    with pytest.raises(AssertionError, match="no architecture cuts"):
        maps.check_masking(net, [own.largest], IMAGES)
    with pytest.raises(AssertionError, match="embed can't be masked; keep the genes with `hold`"):
        maps.check_masking(net, [own.smallest], IMAGES, hold=())


def test_the_symmetry_check_refuses_to_check_nothing() -> None:
    net, _ = models.make(space("vit").with_values(num_heads=[1]), **OPTIONS)
    with pytest.raises(AssertionError, match="axis heads: there is nothing to reorder"):
        maps.check_symmetry(net, IMAGES)

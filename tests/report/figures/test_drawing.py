from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vitnas
from report import demo
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.report.figures import architecture, compare_architectures
from vitnas.report.figures.drawing import layers_of

LARGEST, SMALLEST = demo.SPACE.largest, demo.SPACE.smallest


def _bars(figure: Any, axis: str = "x") -> list[Any]:
    return [trace for trace in figure.data if trace.type == "bar" and (trace.xaxis or "x") == axis]


def test_layers_have_their_own_genes() -> None:
    arch = Arch("autoformer", depth=2, embed_dim=48, num_heads=(1, 3), mlp_ratio=(1.0, 2.5))
    first, second = layers_of(arch)
    assert (first.name, first.genes["num_heads"], first.genes["hidden_dim"]) == ("1", 1, 48)
    assert (second.name, second.genes["num_heads"], second.genes["hidden_dim"]) == ("2", 3, 120)


def test_stages_have_layers_and_pass_their_genes_on() -> None:
    arch = Arch("swin", depth=(1, 2), embed_dim=(96, 192), num_heads=((3,), (6, 7)), window=7)
    layers = layers_of(arch)
    assert [layer.name for layer in layers] == ["1.1", "2.1", "2.2"]
    assert [layer.genes["num_heads"] for layer in layers] == [3, 6, 7]
    assert [layer.genes["embed_dim"] for layer in layers] == [96, 192, 192]


def test_heads_are_cells_and_widths_are_to_scale() -> None:
    arch = Arch("autoformer", depth=2, embed_dim=40, num_heads=(1, 2), mlp_ratio=(1.0, 2.0))
    heads, hidden = _bars(architecture(arch))
    assert list(heads.y) == [1, 2, 2]
    assert len(set(heads.x)) == 1
    assert list(hidden.x) == [0.5, 1.0]


def test_published_nets_are_drawn_whole() -> None:
    arch = vitnas.arch("autoformer-tiny")
    heads, hidden = _bars(architecture(arch, "T"))
    assert len(heads.y) == sum(arch.num_heads)
    assert list(hidden.y) == list(range(1, arch.depth + 1))


def test_compared_nets_share_one_scale() -> None:
    figure = compare_architectures({"smallest": SMALLEST, "largest": LARGEST})
    (_, small), (_, large) = _bars(figure, "x"), _bars(figure, "x2")
    assert max(large.x) == 1
    assert max(small.x) == pytest.approx(24 / 144)
    assert figure.layout.yaxis.range == figure.layout.yaxis2.range
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range


def test_one_column_stacks_them() -> None:
    wide = compare_architectures({"a": SMALLEST, "b": LARGEST})
    narrow = compare_architectures({"a": SMALLEST, "b": LARGEST}, columns=1)
    assert narrow.layout.xaxis.domain == narrow.layout.xaxis2.domain
    assert narrow.layout.height > wide.layout.height


def test_titles_have_room_between_rows_of_small_nets() -> None:
    figure = compare_architectures(dict.fromkeys("abc", SMALLEST), columns=1)
    margin = figure.layout.margin
    drawn = figure.layout.height - margin.t - margin.b
    upper, lower = figure.layout.yaxis.domain, figure.layout.yaxis2.domain
    assert (upper[0] - lower[1]) * drawn == pytest.approx(100)


def test_titles_are_no_markup() -> None:
    arch = Arch("f", kind="<a href='javascript:x'>y</a>", depth=1)
    title = architecture(arch, "<b>").layout.annotations[0].text
    assert title.startswith("<b>&lt;b&gt;</b><br>kind &lt;a href=")


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(InputError, match="can't draw 0 architectures"):
        compare_architectures({})
    with pytest.raises(InputError, match="in 0 columns"):
        compare_architectures({"a": LARGEST}, columns=0)


def test_hidden_width_as_a_gene_is_drawn() -> None:
    (bars,) = _bars(architecture(Arch("x", depth=2, embed_dim=50, hidden_dim=(50, 100))))
    assert list(bars.x) == [0.5, 1.0]


scalars = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
names = st.sampled_from(["depth", "embed_dim", "num_heads", "mlp_ratio", "hidden_dim", "op", "<b>"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(names, values, max_size=5), min_size=1, max_size=3))
def test_any_genes_can_be_drawn(nets: list[dict[str, Any]]) -> None:
    archs = {f"net {i}": Arch("unknown", **genes) for i, genes in enumerate(nets)}
    figure = compare_architectures(archs)
    assert len(figure.layout.annotations) == len(archs)
    assert figure.to_json(engine="json")

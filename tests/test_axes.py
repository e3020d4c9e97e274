"""Layouts: the text, the shapes, and what is refused."""

from __future__ import annotations

import pytest

from vitnas.axes import Layout, check_complete, parse, size

SIZES = {"qkv": 3, "heads": 4, "head_dim": 8, "embed": 16}


def test_a_fused_dimension() -> None:
    layout = parse("(qkv heads head_dim) embed")
    assert layout == Layout((("qkv", "heads", "head_dim"), ("embed",)))
    assert layout.axes == ("qkv", "heads", "head_dim", "embed")
    assert layout.shape(SIZES) == (96, 16)
    assert layout.split_shape(SIZES) == (3, 4, 8, 16)
    assert layout.numel(SIZES) == 96 * 16


def test_numbers_are_dimensions_of_that_size() -> None:
    layout = parse("1 1 embed")
    assert layout.shape(SIZES) == (1, 1, 16)
    assert parse("(3 heads) 7").split_shape(SIZES) == (3, 4, 7)


def test_axes_beside_the_shape() -> None:
    layout = parse("1 (heads head_dim) | patch embed")
    assert layout == Layout((("1",), ("heads", "head_dim")), ("patch", "embed"))
    assert layout.axes == ("1", "heads", "head_dim")
    assert layout.all_axes == ("1", "heads", "head_dim", "patch", "embed")
    assert layout.shape(SIZES) == (1, 32)
    assert layout.numel(SIZES) == 32


@pytest.mark.parametrize("text", ["a |", "a | ", "a | (b c)", "a | 3", "a | b | c", "a || b"])
def test_unreadable_text_behind_the_bar(text: str) -> None:
    with pytest.raises(ValueError, match="names of axes must follow the bar"):
        parse(text)


@pytest.mark.parametrize("text", ["| a", " | a b"])
def test_a_shape_stands_before_the_bar(text: str) -> None:
    with pytest.raises(ValueError, match="at least one axis"):
        parse(text)


@pytest.mark.parametrize("text", ["", " ", "()", "(a", "a)", "a-b", "(a (b c))", "a.b", "é!"])
def test_unreadable_text(text: str) -> None:
    with pytest.raises(ValueError, match="layout"):
        parse(text)


def test_an_axis_may_appear_once() -> None:
    with pytest.raises(ValueError, match="each axis once"):
        parse("embed (heads embed)")
    with pytest.raises(ValueError, match="each axis once"):
        parse("embed heads | heads")


def test_an_axis_needs_a_size() -> None:
    with pytest.raises(ValueError, match="layout axis hidden has no size; known axes: qkv, heads"):
        parse("hidden embed").shape(SIZES)
    assert size("5", {}) == 5


def test_completeness_lists_every_fault() -> None:
    check_complete({"a": "embed"}, {"a": 1}, "vit")
    with pytest.raises(ValueError, match="axis map of vit: no layout for b; no layout for c; no p"):
        check_complete({"a": "embed", "d": "embed"}, {"a": 1, "c": 1, "b": 1}, "vit")

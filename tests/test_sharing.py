"""Sharing policies: where a size starts, what is private, and how policies are written."""

from __future__ import annotations

from typing import Any

import pytest

from vitnas.axes import parse
from vitnas.errors import InputError
from vitnas.sharing import POLICIES, Rules, rules


@pytest.mark.parametrize(
    ("policy", "starts"),
    [
        ("prefix", [0, 0, 0]),
        ("suffix", [4, 3, 0]),
        ("centre", [2, 1, 0]),
        ("ranked", [0, 0, 0]),
        ("legacy", [0, 0, 0]),
        ("bilateral", [0, 0, 0]),
    ],
)
def test_starts_of_1_2_and_5_in_5(policy: str, starts: list[int]) -> None:
    start = POLICIES[policy].start
    assert [start(5, n) for n in (1, 2, 5)] == starts


def test_one_policy_for_all_axes_or_one_for_each() -> None:
    assert rules("suffix") == Rules("suffix")
    mixed = rules({"*": "suffix", "heads": "centre", "embed": "independent"})
    largest, sizes = {"embed": 8, "heads": 5, "hidden": 4}, {"embed": 8, "heads": 2, "hidden": 1}
    assert mixed.starts(("hidden", "heads", "1"), largest, sizes) == (3, 1, 0)
    layout = parse("(3 heads) embed")
    assert mixed.private_axes(layout, frozenset({"embed", "heads"})) == ("embed",)
    assert mixed.private_axes(layout, frozenset({"heads"})) == ()
    beside = parse("1 heads | embed")
    assert mixed.private_axes(beside, frozenset({"embed", "heads"})) == ("embed",)
    assert rules("prefix").private_axes(beside, frozenset({"embed"})) == ()
    assert mixed.private
    assert not rules("suffix").private
    assert rules({"heads": "suffix"}).policy("embed") is POLICIES["prefix"]


def test_a_bilateral_axis_is_a_prefix_on_the_left_and_a_suffix_on_the_right() -> None:
    both = rules({"*": "bilateral", "heads": "centre"})
    assert both.on("left") == rules({"*": "prefix", "heads": "centre"})
    assert both.on("right") == rules({"*": "suffix", "heads": "centre"})
    assert both.on(None) == both.on("left")
    one = rules({"embed": "bilateral"})
    assert one.on("right") == rules({"*": "prefix", "embed": "suffix"})
    assert (both.bilateral, one.bilateral, one.on("right").bilateral) == (True, True, False)
    assert rules("centre").on("right") == rules("centre")


def test_sides_are_taken_where_there_are_two() -> None:
    both = rules("bilateral")
    assert [both.check_side(side) for side in ("left", "right", None)] == ["left", "right", "left"]
    with pytest.raises(InputError, match=r"unknown side 'rihgt'; did you mean 'right'\?"):
        both.check_side("rihgt")
    assert rules("suffix").check_side(None) is None
    with pytest.raises(InputError, match="side is 'left', but this supernet has no sides; leave s"):
        rules("suffix").check_side("left")


def test_flags() -> None:
    assert rules("legacy").legacy
    assert rules({"heads": "legacy"}).legacy
    assert not rules("ranked").legacy
    assert rules({"heads": "ranked"}).ranked("heads")
    assert not rules({"heads": "ranked"}).ranked("embed")


@pytest.mark.parametrize(
    "sharing", ["prefix", {"*": "suffix", "heads": "centre"}, {"hidden": "independent"}]
)
def test_what_is_written_is_read_back(sharing: Any) -> None:
    assert rules(rules(sharing).to_json()) == rules(sharing)


def test_unknown_policies() -> None:
    with pytest.raises(InputError, match="unknown sharing policy 'prefx'; did you mean 'prefix'"):
        rules("prefx")
    with pytest.raises(InputError, match="unknown sharing policy 'last'"):
        rules({"heads": "last"})


@pytest.mark.parametrize(
    "sharing", [{"*": "legacy", "hidden": "ranked"}, {"a": "legacy", "*": "ranked"}]
)
def test_ranked_and_legacy_exclude_each_other(sharing: Any) -> None:
    with pytest.raises(InputError, match="sharing policies ranked and legacy exclude each other"):
        rules(sharing)


def test_a_policy_of_an_axis_holds_for_its_stages() -> None:
    mixed = rules({"embed": "suffix", "embed1": "centre"})
    assert mixed.policy("embed0") is POLICIES["suffix"]
    assert mixed.policy("embed1") is POLICIES["centre"]
    assert mixed.policy("heads") is POLICIES["prefix"]


def test_policies_of_a_family_yield_to_named_and_to_private_ones() -> None:
    own = (("rows", "centre"), ("cols", "centre"))
    assert rules("suffix", own) == Rules("suffix", (("cols", "centre"), ("rows", "centre")))
    assert rules({"rows": "prefix"}, own).policy("rows") is POLICIES["prefix"]
    assert rules({"rows": "prefix"}, own).policy("cols") is POLICIES["centre"]
    assert rules("independent", own) == Rules("independent")
    found = rules("prefix", own)
    assert rules(found.to_json(), own) == found

"""Arch: an immutable value with an exact JSON form, and a reader that hostile text can't hurt."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitnas.arch import Arch
from vitnas.errors import InputError

ARCH = Arch("autoformer", depth=2, mlp_ratio=(3.5, 4.0), num_heads=(3, 4), embed_dim=192)

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = numbers | st.text(max_size=5)
values = scalars | st.lists(scalars | st.lists(scalars, max_size=3), max_size=3)
names = st.text(min_size=1, max_size=8)
genes = st.dictionaries(names, values, max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@given(st.text(max_size=8), genes)
def test_json_round_trip_is_identity(family: str, genes: dict[str, Any]) -> None:
    arch = Arch(family, **genes)
    back = Arch.from_json(arch.to_json())
    assert back == arch
    assert hash(back) == hash(arch)
    assert back.to_json() == arch.to_json()
    assert Arch.from_dict(arch.to_dict()) == arch


@given(st.text(max_size=8), genes)
def test_copies_and_pickles_are_equal(family: str, genes: dict[str, Any]) -> None:
    arch = Arch(family, **genes)
    assert pickle.loads(pickle.dumps(arch)) == arch
    assert copy.deepcopy(arch) == arch
    assert arch.replace(**genes) == arch


def test_genes_are_read_by_name_and_by_attribute() -> None:
    assert ARCH.embed_dim == ARCH["embed_dim"] == 192
    assert dict(ARCH) == {
        "depth": 2,
        "mlp_ratio": (3.5, 4),
        "num_heads": (3, 4),
        "embed_dim": 192,
    }
    assert len(ARCH) == 4
    with pytest.raises(AttributeError, match="this autoformer architecture has no gene 'width'"):
        _ = ARCH.width
    with pytest.raises(KeyError):
        _ = ARCH["width"]


def test_equality_needs_family_and_genes_but_not_their_order() -> None:
    shuffled = Arch("autoformer", embed_dim=192, num_heads=[3, 4], depth=2, mlp_ratio=[3.5, 4.0])
    assert shuffled == ARCH
    assert hash(shuffled) == hash(ARCH)
    assert Arch("vit", **ARCH) != ARCH
    assert ARCH.replace(embed_dim=216) != ARCH
    assert dict(ARCH) != ARCH


def test_whole_numbers_are_ints_so_that_equal_genes_act_alike() -> None:
    arch = Arch("x", depth=2.0, ratios=(4.0, 3.5, -0.0))
    assert repr(arch) == "Arch('x', depth=2, ratios=(4, 3.5, 0))"
    assert type(arch.depth) is int


def test_immutable() -> None:
    arch = ARCH.replace()
    with pytest.raises(AttributeError, match="an Arch is immutable; use"):
        arch.embed_dim = 216
    with pytest.raises(AttributeError, match="immutable"):
        arch.family = "vit"
    with pytest.raises(AttributeError, match="immutable"):
        del arch.family
    with pytest.raises(TypeError):
        arch["embed_dim"] = 216
    assert arch == ARCH


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "gene g is True; a gene is a number, a string or a sequence of them"),
        (None, "gene g is None; a gene is"),
        ({"a": 1}, r"gene g is \{'a': 1\}; a gene is"),
        ([1, [2, None]], "gene g is None; a gene is"),
        (math.nan, "gene g is nan; a number must be finite"),
        ([math.inf], "gene g is inf; a number must be finite"),
    ],
)
def test_refused_genes(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Arch("x", g=value)


def _record(**changes: Any) -> str:
    return json.dumps({**ARCH.to_dict(), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an architecture: Expecting value"),
        ("{", "not an architecture"),
        ("null", "it needs the fields version, family and genes"),
        ("[1]", "it needs the fields version, family and genes"),
        ('{"family": "x"}', "it needs the fields version, family and genes"),
        (_record(version=2), "has format version 2, this vitnas reads version 1"),
        (_record(version=None), "has format version None"),
        (_record(family=3), "family must be a string and genes a mapping"),
        (_record(genes=[1]), "family must be a string and genes a mapping"),
        (_record(genes={"depth": None}), "gene depth is None"),
        (_record(genes={"depth": math.nan}), "gene depth is nan; a number must be finite"),
        ("[" * 100_000, "not an architecture"),
        (
            _record(genes={"depth": 0}).replace("0", "[" * 900 + "]" * 900),
            "not an architecture: its genes are nested too deeply",
        ),
        (_record(genes={"depth": 0}).replace("0", "9" * 5000), "not an architecture"),
    ],
)
def test_hostile_text_is_refused_with_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Arch.from_json(text)


@given(json_values)
def test_no_json_makes_the_reader_fail_otherwise(record: Any) -> None:
    for candidate in (record, {"version": 1, "family": "x", "genes": record}):
        try:
            arch = Arch.from_json(json.dumps(candidate))
        except InputError:
            continue
        assert Arch.from_json(arch.to_json()) == arch


def test_names_of_genes_must_be_text() -> None:
    with pytest.raises(InputError, match="the names of genes must be strings"):
        Arch.from_dict({"version": 1, "family": "x", "genes": {1: 2}})

"""Any value in any field of an official ViTAS YAML: read rightly, or refused in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vitnas.errors import InputError
from vitnas.interop import vitas
from vitnas.interop.vitas_yaml import Official, read

from .recorded_vitas import TOY, rows, toy_state

VALUES: list[Any] = [None, "abc", "", "3", True, False, -1, 0, 1.5, 1.0, float("nan")]
VALUES += [float("inf"), 1e308, 10**18, 10**400, {}, {"a": 1}, [], [[1]], [None], ["a"], [30]]
VALUES += [[True], [0], [1.5], [10**18], [float("nan")], [1, [2]], [4, 4], {"a": [[]]}]
PLACES = [f"{row}_{field}" for row in TOY["backbone"] for field in range(9)]
IGNORED = {f"{row}_{field}" for row in TOY["backbone"] for field in (1, 7)}
IGNORED |= {f"init_stem_{field}" for field in (3, 5, 6)} | {f"FC_{field}" for field in (2, 3, 5, 6)}
IGNORED |= {f"Norm_{field}" for field in (2, 3, 4, 5, 6)}
"""What the official code ignores, too."""

NETWORK = {**TOY, "net_id": "0 1 4 0 0 0 4 2 5 2 5 2 5"}
SUBNET = {**TOY, "subnet_m": [0, 1, 4, 0, 0, 0], "subnet_c_percent": [0.5] * 7}


def one_line(message: str) -> bool:
    return "\n" not in message and len(message) < 700


def outcome(config: Any) -> Official | str:
    """Return what is read, or why it is refused."""
    try:
        return read(config)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("place", PLACES)
def test_every_field_of_every_row(place: str) -> None:
    for value in VALUES:
        found = outcome(rows(**{place: value}))
        if place in IGNORED:
            assert found == read(TOY)
        elif place == "init_stem_2" and value == [30]:  # one choice in a list
            assert found == replace(read(TOY), patches=(30,))
        else:
            assert isinstance(found, str)
            assert one_line(found)
            assert found.startswith("official ViTAS YAML: ")


@pytest.mark.parametrize("key", ["qkv", "channel_percent", "net_id", "backbone"])
def test_every_other_part(key: str) -> None:
    for value in VALUES:
        if (key, value) == ("net_id", None) or (key == "qkv" and type(value) is int and not value):
            continue  # absent, and shared by all heads
        with pytest.raises(InputError) as refused:
            vitas.arch({**NETWORK, key: value})
        assert one_line(str(refused.value))


@pytest.mark.parametrize("key", ["subnet_m", "subnet_c_percent"])
def test_genes_and_ratios_of_a_subnet(key: str) -> None:
    for value in [*VALUES, ["a"] * 7, [float("nan")] * 7, [None] * 7, [[1]] * 6]:
        with pytest.raises(InputError) as refused:
            vitas.arch({**SUBNET, key: value})
        assert one_line(str(refused.value))


def test_numbers_of_thousands_of_digits_are_refused() -> None:
    with pytest.raises(InputError, match="net_id: it must be a list of whole numbers, got '1111"):
        vitas.arch({**TOY, "net_id": "1" * 5000})


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("Block_5", 10**18, "the MLP width is 1000000000000000000; it must be a whole number fr"),
        ("Block_3", 65_538, "the attention width is 65538; it must be a whole number from 1 to 65"),
        ("FC_4", 10_000_000_000, "number of classes is 10000000000; it must be a whole number fro"),
        ("Block_0", 1001, "number of blocks is 1001; it must be a whole number from 1 to 1,000$"),
        ("Block_4", [30], r"the width of the attention is \[30\]; it must be a whole number fro"),
        ("init_stem_2", [4, 0], "one of the patches is 0; it must be a whole number from 1 to 65"),
        ("Block_2", [3, 3], r"heads are \[3, 3\]; none may be there twice"),
        ("Block_8", ["id"], r"operations of Block are \['id'\]; they must be \['Block', 'id'\] or"),
    ],
)
def test_messages(place: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(rows(**{place: value}))


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("FC_4", 1 << 24, r"FC_FC_0\.0\.module\.0\.weight is \(5, 22\), expected \(16777216, 22\)"),
        ("Block_5", 1 << 16, r"mlp\.fc1\.weight is \(30, 22\), expected \(65536, 22\)"),
        ("Block_3", 65_520, r"attn\.proj\.weight is \(22, 12\), expected \(22, 21840\)"),
    ],
)
def test_weights_are_compared_before_a_net_is_built(
    monkeypatch: pytest.MonkeyPatch, place: str, value: int, named: str
) -> None:
    monkeypatch.delattr("vitnas.interop.vitas.empty")
    with pytest.raises(InputError, match=named):
        vitas.load(toy_state(2), {**rows(**{place: value}), "qkv": 2})


def test_a_supernet_that_the_official_code_has_no_scale_for() -> None:
    narrow = dict.fromkeys(("init_stem_4", "Block_4", "Block_6"), 2)
    config = {**rows(**narrow), "qkv": 2}
    state = {key: one[..., :2] if one.shape[-1] == 22 else one for key, one in toy_state(2).items()}
    state = {key: one[:2] if len(one) == 22 else one for key, one in state.items()}
    with pytest.raises(
        InputError, match="the official ViTAS has no supernet of width 2, only from"
    ):
        vitas.load(state, config, faithful=True)

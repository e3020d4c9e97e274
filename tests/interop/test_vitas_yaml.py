"""Official ViTAS descriptions: encodings, rows of YAML files, and what is wrong with some."""

from __future__ import annotations

import re
from typing import Any

import pytest

import vitnas
from vitnas import cost
from vitnas.errors import InputError
from vitnas.interop import vitas
from vitnas.interop.originals import describe_arch, read_arch, recognise

from .recorded_vitas import TOY, case, released, rows

CODES = {
    "vitas-a": "1 2 4 3 4 4 1 3 4 3 4 4 4 4 3 3 4 0 0 | "
    "3 1 6 7 9 4 3 6 8 4 9 1 8 6 4 9 2 7 6 8 9 3 0 3 8 7 0 5 7 9 8 4 4",
    "vitas-b": "1 3 4 4 3 4 3 4 4 2 2 4 2 3 4 4 1 0 0 | "
    "4 1 5 1 6 2 2 2 3 2 9 2 6 3 9 5 7 7 5 6 4 8 1 5 3 2 8 5 9 2 4 5 5",
    "vitas-e": "1 3 4 3 4 3 1 4 0 4 2 1 2 4 2 1 2 0 0 | "
    "8 4 4 1 7 6 5 3 8 5 6 5 6 3 6 3 4 4 4 8 8 8 7 4 0 4 5 9 5 3 6 7 8",
    "vitas-f": "1 3 3 3 3 3 3 3 3 3 3 3 3 3 0 0 | "
    "3 2 5 0 7 5 2 3 6 6 2 4 4 8 7 4 6 7 2 6 1 6 6 4 7 5 7",
}
SCORED = {"vitas-a": 864.2, "vitas-b": 946.4, "vitas-e": 2623.5}
C_ROWS = {
    "init_stem": [1, 3, [16], [], 230, [], [], True, ["Patch_init"]],
    "Block": [12, 230, 3, 432, 230, 720, 230, True, ["Block"]],
    "Norm": [1, 230, [], [], [], [], [], "token", ["Norm"]],
    "FC": [1, 230, [], [], 1000, [], [], False, ["FC"]],
}


def supernet(name: str = "vitas-a") -> dict[str, Any]:
    """Return the rows of the official supernet that a published network is from."""
    found = vitas.foreign(vitnas.arch(name))
    return {"backbone": found["backbone"], "depth": 16, "heads_share": True, "qkv": 2}


@pytest.mark.parametrize("flags", [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("name", [*CODES, "vitas-c"])
def test_the_network_of_a_released_yaml_is_below_its_supernet(
    name: str, flags: tuple[bool, bool]
) -> None:
    """Retraining has both switched on, inference the test alone."""
    arch = vitnas.arch(name)
    top = supernet("vitas-f" if name == "vitas-f" else "vitas-a")
    given = released(top, vitas.foreign(arch), flags=flags)
    assert vitas.arch(given) == read_arch(given) == arch
    for part, on in zip(("test", "retrain"), flags, strict=True):  # what the other is without
        own_supernet = {**given, part: {"flag": True, "model": top}}
        assert vitas.arch(own_supernet) == arch
        alone = {key: one for key, one in given.items() if key != part}
        if on:
            assert vitas.arch(alone) == vitas.arch({**given, part: {"flag": True}}) == arch
        else:
            with pytest.raises(InputError, match=r"switched off by `flag`: \w+\.model$"):
                vitas.arch(alone)


def test_encodings_are_of_the_supernet_of_a_released_yaml() -> None:
    given = released(supernet(), vitas.foreign(vitnas.arch("vitas-c")))
    arch = vitnas.arch("vitas-b")
    assert vitas.arch(CODES["vitas-b"], given) == arch
    assert vitas.foreign(arch, given)["net_id"] == vitas.foreign(arch)["net_id"]


def test_a_released_yaml_that_has_no_one_network() -> None:
    one, other = (vitas.foreign(vitnas.arch(name)) for name in ("vitas-c", "vitas-b"))
    for flags in ((True, True), (False, True)):
        with pytest.raises(InputError, match=r"retrain\.model and test\.model are different netw"):
            vitas.arch(released(supernet(), one, other, flags))
    off = r"describes a supernet; switched off by `flag`: retrain\.model, test\.model$"
    with pytest.raises(InputError, match=off):
        vitas.arch(released(supernet(), one, flags=(False, False)))
    with pytest.raises(InputError, match="it describes a supernet; a subnet needs net_id"):
        vitas.arch(released(supernet(), supernet()))
    malformed = {"backbone": {**C_ROWS, "FC": [1, 230]}}
    with pytest.raises(InputError, match=r"^test\.model: official ViTAS YAML: FC is \[1, 230\]"):
        vitas.arch(released(supernet(), one, malformed))


@pytest.mark.parametrize("name", CODES)
def test_published_encodings(name: str) -> None:
    arch, code = vitnas.arch(name), CODES[name]
    assert vitas.arch(code) == arch
    assert vitas.arch([int(number) for number in code.replace("|", "").split()]) == arch
    record = vitas.foreign(arch)
    assert vitas.arch(record) == arch
    assert vitas.arch({**record, "net_id": code}) == arch
    assert record["backbone"]["Block"][2] == [3, 6, 12, 16]


@pytest.mark.parametrize("name", SCORED)
def test_the_official_search_scored_other_networks_than_it_reported(name: str) -> None:
    """As widths go to blocks by their order there: 864.2 M instead of 858.7 M for A."""
    scored = vitas.arch(CODES[name], faithful=True)
    assert scored != vitnas.arch(name)
    assert cost.convention("vitas", scored) == pytest.approx(SCORED[name] * 1e6, abs=0.05e6)


def test_the_published_rows_of_c() -> None:
    arch = vitnas.arch("vitas-c")
    assert vitas.arch({"backbone": C_ROWS, "depth": 16}) == arch
    record = vitas.foreign(arch)
    assert record["backbone"]["Block"] == [12, 230, [3], 432, 230, 720, 230, True, ["Block"]]
    assert "net_id" not in record
    assert vitas.arch(record) == arch


def test_any_architecture_has_an_official_description() -> None:
    for name in ("vitas", "vitas-a", "vitas-f", "vitas-nano", "vitas-digits"):
        space = vitnas.space(name)
        for seed in range(10):
            arch = space.sample(seed)
            assert vitas.arch(vitas.foreign(arch)) == arch
    official = vitas.foreign(vitnas.arch("vitas-a"))
    assert vitas.foreign(vitnas.arch("vitas-a"), official) == official
    with pytest.raises(InputError, match=r"no attn_dim 144 \(it has 1, 2, 4, 5,"):
        vitas.foreign(vitnas.arch("vitas-c"), TOY)
    with pytest.raises(InputError, match=r"no blocks in slots 0, 2, 5, .* \(it has 13\)"):
        vitas.foreign(vitnas.arch("vitas-a"), vitas.foreign(vitnas.arch("vitas-f")))
    with pytest.raises(InputError, match="has no autoformer architectures"):
        vitas.foreign(vitnas.arch("autoformer-tiny"))


def test_descriptions_are_recognised() -> None:
    arch = vitnas.arch("vitas-b")
    foreign = vitas.foreign(arch)
    wrapped = {"model": foreign, "retrain": {"epochs": 300}, "search": {"depth": 3}}
    for given in (foreign, wrapped, {"net_id": CODES["vitas-b"]}):
        assert read_arch(given) == arch


def test_what_is_written_and_whose_weights_are_recognised() -> None:
    suffix, text = describe_arch(vitnas.arch("vitas-b"), "vitas")
    assert suffix == "yaml"
    assert "net_id: 1 3 4 4 3" in text
    assert recognise(case("vitas_searched_eps").weights) == "vitas"
    assert recognise({f"module.{name}" for name in case("vitas_supernet_qkv2").weights}) == "vitas"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "net_id: it must be a list of whole numbers, got None"),
        ("1 2 x", "net_id: it must be a list of whole numbers, got '1 2 x'"),
        ("1 2 3", "net_id: it has 3 numbers, those of the official spaces have 52 or 43; give the"),
        ([1.5], "net_id: it must be a list of whole numbers, got [1.5]"),
        ({}, "official ViTAS YAML: it needs the rows of the network, `backbone`"),
        ({"backbone": {"Block": []}}, "init_stem, Norm, FC missing"),
        ({"backbone": {**C_ROWS, "Stem": []}}, "unknown stage of the official ViTAS 'Stem'"),
        (TOY, "it describes a supernet; a subnet needs net_id, or subnet_m and subnet_c_percent"),
        ({**TOY, "net_id": "0 1"}, "net_id: it has 2 numbers, 3 slots need 13"),
        ({**TOY, "net_id": "2 0 0 0 0 0 9 9 9 9 9 9 9"}, "patch index 2 is none of 0 to 1"),
        ({**TOY, "net_id": "0 0 5 0 0 0 9 9 9 9 9 9 9"}, "block index 5 is none of 0 to 4"),
        ({**TOY, "net_id": "0 0 0 0 0 0 9 9 9 10 9 9 9"}, "ratio index 10 is none of 0 to 9"),
        (
            {**TOY, "net_id": "0 4 4 4 0 0 9 9 9 9 9 9 9"},
            "it leaves out all blocks",
        ),
        (
            {**TOY, "subnet_m": [0, 0, 0, 0], "subnet_c_percent": [1.0]},
            "3 slots need 6 structure genes and 7 ratios, got 4 and 1",
        ),
        (rows(Block_3=37), "the attention width is 37; it must be a multiple of 3"),
        (rows(Block_4=20), "widths of stem, attention, MLP differ: 22, 20, 22"),
        (rows(Block_2=[]), "heads are []; there must be one or more"),
        (rows(Block_0="3"), "number of blocks is '3'; it must be a whole number from 1 to 1,000"),
        (
            rows(Block_8="id"),
            "Block is [3, 22, [1, 2, 3, 4], 36, 22, 30, 22, True, 'id']; it needs 9",
        ),
        (rows(init_stem_0=2), "init_stem is there 2 times; it must be once"),
        (
            rows(Block_2=[2]),
            "one number of heads with other choices is neither a network nor a sup",
        ),
        ({**TOY, "qkv": 3}, "qkv is 3; it is 0, 1 or 2"),
        (
            {**TOY, "channel_percent": [0.0]},
            "channel_percent is [0.0]; it is a list of ratios above",
        ),
    ],
)
def test_malformed_descriptions(record: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        vitas.arch(record)

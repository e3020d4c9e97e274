"""The latency table: its rows, its sums, its error; written, read, refused."""

from __future__ import annotations

import dataclasses
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.cost import table as module
from vitnas.cost.backends import Nets
from vitnas.cost.table import BETWEEN, LatencyTable, TableError, latency_table, plain_options
from vitnas.errors import InputError
from vitnas.models import family, make_config
from vitnas.space import Choice, Space

from .clocks import OPTIONS, SPACE, Clock, sizes

HERE = cost.settings("cpu", threads=1)


def block(embed: int, heads: int, hidden: int) -> float:
    """Return binary fractions, so that sums are exact."""
    return embed / 8 + heads / 64 + hidden / 256


def measured(net: Callable[[int], float] = lambda depth: 0.5, **how: Any) -> LatencyTable:
    """Measure a table where blocks and nets take these seconds."""
    clock = Clock()
    with clock.turned_by(block, net):
        return latency_table(SPACE, HERE, repeats=2, warmup=0, clock=clock, **how, **OPTIONS)


TABLE = measured()


def units(arch: Arch) -> Any:
    model = family(arch.family)
    return model.units(make_config(model, arch, OPTIONS), arch)


def test_every_kind_has_a_row_and_what_is_between_is_apart() -> None:
    roots = [kind for kind in TABLE.rows if kind.role == "root"]
    blocks = [kind for kind in TABLE.rows if kind.role == "block"]
    assert (len(roots), len(blocks), TABLE.kinds) == (2, 8, 10)
    for kind in blocks:
        seconds = block(*sizes(kind))
        row = TABLE.rows[kind]
        assert (row.median, row.p5, row.p95) == (seconds, seconds, seconds)
        assert row.repeats >= 2
    assert all(TABLE.rows[kind].median == 0 for kind in roots)
    assert TABLE.between == 0.5
    assert TABLE.error == TableError(10, 0.0, 0.0, 0.0)
    assert TABLE.settings == HERE


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_latency_is_the_sum_over_the_units_and_what_is_between(seed: int) -> None:
    arch = SPACE.sample(seed)
    rows = sum(TABLE.rows[unit.kind].median for unit in units(arch))
    assert TABLE(arch) == rows + TABLE.between
    assert TABLE(arch) == sum(block(*sizes(unit.kind)) for unit in units(arch)[1:]) + 0.5


def test_drop_path_changes_nothing() -> None:
    given = {**OPTIONS, "drop_path_rate": 0.3, "drop_path_depth": 3}
    table = latency_table(SPACE, HERE, repeats=2, warmup=0, archs=1, **given)
    assert len(table.rows) == 10
    assert table.options == TABLE.options


def test_the_error_is_that_of_further_random_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where deep nets take longer than their units, so that no constant is right."""
    drawn: list[Arch] = []
    whole = Nets.whole

    def remember(nets: Nets, arch: Arch) -> Any:
        drawn.append(arch)
        return whole(nets, arch)

    monkeypatch.setattr(Nets, "whole", remember)
    table = measured(lambda depth: depth**2 / 4, archs=7, seed=3)
    assert len(drawn) == BETWEEN + 7
    sums = [sum(block(*sizes(unit.kind)) for unit in units(arch)[1:]) for arch in drawn]
    assert table.between == statistics.median(arch.depth**2 / 4 for arch in drawn[:BETWEEN])
    errors = [
        (total + table.between) / (total + arch.depth**2 / 4) - 1
        for total, arch in list(zip(sums, drawn, strict=True))[BETWEEN:]
    ]
    sizes_of = [abs(error) for error in errors]
    wanted = TableError(7, statistics.median(sizes_of), max(sizes_of), statistics.median(errors))
    assert wanted.worst > 0.01
    assert table.error == wanted
    other = measured(lambda depth: depth**2 / 4, archs=7, seed=4)
    assert drawn[: BETWEEN + 7] != drawn[BETWEEN + 7 :]
    assert other.rows.keys() == table.rows.keys()


def test_the_error_in_words() -> None:
    assert str(TableError(7, 0.0123, 0.05, -0.01)) == (
        "error against whole nets: median 1.2%, worst 5.0%, bias -1.0% of 7 random architectures"
    )


WIDE = Space(
    "vit",
    (
        Choice("depth", (2, 3)),
        Choice("mlp_ratio", (1, 2, 3, 4), "block"),
        Choice("num_heads", (1, 2, 3), "block"),
        Choice("embed_dim", (8, 16, 24)),
    ),
)


def test_of_very_many_kinds_some_are_measured_and_the_rest_is_estimated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "MEASURED", 25)
    clock = Clock()
    with clock.turned_by(block, lambda depth: 0.5):
        table = latency_table(WIDE, HERE, repeats=2, warmup=0, clock=clock, **OPTIONS)
    assert table.kinds == 39
    assert 25 <= len(table.rows) < 30
    unmeasured = 0
    for found in (table, LatencyTable.load(table.save(tmp_path / "t.json"))):
        for seed in range(50):
            arch = WIDE.sample(seed)
            kinds = [unit.kind for unit in units(arch)[1:]]
            unmeasured += any(kind not in table.rows for kind in kinds)
            wanted = sum(block(*sizes(kind)) for kind in kinds) + 0.5
            assert found(arch) == pytest.approx(wanted, rel=1e-9)
    assert unmeasured > 20
    assert table.error.worst < 1e-9


@pytest.mark.parametrize("name", ["autoformer-digits", "s3-digits"])
def test_nets_are_found_that_have_every_kind(name: str) -> None:
    space = vitnas.space(name)
    options = {"img_size": 8, "num_classes": 10, "in_chans": 1}
    nets = Nets(plain_options(space.largest, options), HERE)
    kinds, cover = module._cover(space, nets, random.Random(0))
    found = {unit.kind for arch in cover for unit in nets.units(arch)}
    for seed in range(200):
        assert {unit.kind for unit in nets.units(space.sample(seed))} <= found
    assert len(found) == kinds
    assert len(cover) < len(list(space.tied()))


def test_a_table_is_written_and_read(tmp_path: Path) -> None:
    path = TABLE.save(tmp_path / "latency.json")
    assert LatencyTable.load(path) == TABLE
    assert [file.name for file in tmp_path.iterdir()] == ["latency.json"]
    record = json.loads(path.read_text())
    assert record["settings"]["threads"] == 1
    assert record["error"] == {"archs": 10, "median": 0.0, "worst": 0.0, "bias": 0.0}


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = TABLE.save(tmp_path / "latency.json")
    record = json.loads(path.read_text())
    for change, message in (
        ({"version": 2}, "has version 2 of latency tables, this is version 1: measure it anew"),
        ({"rows": [{"role": "block"}]}, "is no latency table: KeyError"),
        ({"settings": {"device": "cpu"}}, "is no latency table: TypeError"),
        ({"rows": 3}, "is no latency table: TypeError"),
    ):
        path.write_text(json.dumps({**record, **change}))
        with pytest.raises(InputError, match=message):
            LatencyTable.load(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="is no latency table"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (
            {"device": "cuda:0", "hardware": "NVIDIA H100", "threads": None},
            {},
            "measured with device cpu, not cuda:0; hardware CPU, not NVIDIA H100; threads 1, not "
            "None, and holds there only; measure another one",
        ),
        ({"batch_size": 8}, {}, "batch_size 1, not 8, and holds"),
        ({"software": "torch 3"}, {}, f"software {HERE.software}, not torch 3, and holds"),
        ({}, {"img_size": 16}, "img_size [8, 8], not [16, 16], and holds"),
        ({}, {"num_classes": 4}, "num_classes 3, not 4, and holds"),
    ],
)
def test_a_table_holds_for_one_device_its_settings_and_models(
    change: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    here = dataclasses.replace(HERE, hardware="CPU")
    table = dataclasses.replace(TABLE, settings=here)
    options = plain_options(SPACE.largest, {**OPTIONS, **given})
    table.check(here, plain_options(SPACE.largest, OPTIONS), "t.json")
    with pytest.raises(InputError) as error:
        table.check(dataclasses.replace(here, **change), options, "t.json")
    assert str(error.value).startswith("the latency table t.json was measured with ")
    assert message in str(error.value)


def test_architectures_of_other_spaces_are_refused() -> None:
    wide = WIDE.with_values(embed_dim=(24,)).largest
    with pytest.raises(InputError) as error:
        TABLE(wide)
    assert str(error.value).startswith("the latency table has no root with embed 24, classes 3")
    with pytest.raises(InputError, match="the latency table is of family vit, not autoformer"):
        TABLE(Arch("autoformer", **SPACE.largest))


def test_wrong_numbers() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"archs": 0}, "archs is 0; it must be at least 1"),
        ({"repeats": 1}, "repeats is 1; it must be at least 2"),
    ]
    for how, message in wrong:
        with pytest.raises(InputError, match=message):
            latency_table(SPACE, HERE, **how, **OPTIONS)


def test_by_the_real_clock() -> None:
    table = latency_table(SPACE, HERE, repeats=3, archs=2, **OPTIONS)
    assert all(0 < row.p5 <= row.median <= row.p95 for row in table.rows.values())
    assert 0 < table(SPACE.largest) < 1
    assert table.error.archs == 2


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    settings = cost.settings("cuda")
    table = latency_table(SPACE, settings, repeats=20, clock=Clock(), **OPTIONS)
    assert all(0 < row.p5 <= row.median <= row.p95 for row in table.rows.values())
    assert table.error.median < 0.3

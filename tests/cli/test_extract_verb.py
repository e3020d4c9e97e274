"""What `vitnas extract` keeps of a search, and what the model card of an export shows of it."""

from __future__ import annotations

from pathlib import Path

import vitnas
from vitnas.cost.table import LatencyTable
from vitnas.folder import read_config
from vitnas.interop.default_space import recorded_space
from vitnas.run import LATENCY
from vitnas.search.answer import best
from vitnas.search.ledger import read

from .conftest import Command


def test_a_model_and_its_card_say_how_it_was_searched(run: Path, command: Command) -> None:
    words = ("--strategy", "random", "--trials", "3", "--predictor", "gbrt", "--oversample", "3")
    limits = ("--max-latency", "50ms", "--max-memory", "1GB", "--measure", "threads=1")
    where = ("--name", "lat", "--device", "cpu", "--seed", "5")
    assert command("search", run, *words, *limits, *where).code == 0
    assert command("extract", run, "--search", "lat").code == 0
    settings, records = read(run / "searches" / "lat")
    found = best(records)
    origin = read_config(run / "models" / "lat")["provenance"]
    assert origin["search"] == {
        "strategy": "random",
        "options": {},
        "seed": 5,
        "evaluated": 3,
        "scorer": "top-1",
        "predictor": "gbrt",
        "oversample": 3,
        "measured_on": settings.measured_on,
    }
    assert origin["search_metrics"] == found.metrics
    assert {"latency", "memory", "params", "macs", "loss"} <= found.metrics.keys()

    assert command("export", run / "models" / "lat").code == 0
    card = (run / "models" / "lat" / "exports" / "timm" / "README.md").read_text()
    table = LatencyTable.load(run / "searches" / "lat" / LATENCY)
    assert table.settings.threads == 1
    for told in (
        "# run-lat\n",
        "| limits | latency \\<= 50 ms, memory \\<= 1 GB |",
        "| seed of the search | 5 |",
        "| predictor | gbrt, best of 3 |",
        "| costs measured on | cpu (",
        ", 1 thread), batch size 1, float32, ",
        "latency table ",
        f"| top-1 in the search | {found.score:.4g} |",
        "| latency in the search | ",
        "| memory in the search | ",
    ):
        assert told in card, told


def test_a_model_says_in_which_space_it_was_found(run: Path) -> None:
    """Other systems' descriptions of it are of that space, too."""
    record = read_config(run / "models" / "random")
    found, net = recorded_space(record), recorded_space(read_config(run / "supernet"))
    assert found is not None
    assert found == net
    assert vitnas.Arch.from_dict(record["arch"]) in found


def test_without_predictor_and_measurement_neither_is_named(run: Path) -> None:
    search = read_config(run / "models" / "random")["provenance"]["search"]
    assert search.keys() == {"strategy", "options", "seed", "evaluated", "scorer"}

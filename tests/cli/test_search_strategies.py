"""`vitnas search` by fronts, by slimming, of tied layers and from a prior; extracting by trial."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vitnas
from vitnas import cost
from vitnas.folder import read_config
from vitnas.search.ledger import read
from vitnas.search.limits import Limit
from vitnas.search.pareto import front
from vitnas.supernet import Supernet

from .calling import files_in, refusal
from .conftest import Command


def numbers_of(text: str) -> list[int]:
    """The trials in the table, in order."""
    return [int(line.split()[0]) for line in text.splitlines() if re.match(r" *\d+  ", line)]


def test_nsga2_shows_its_front_and_any_of_it_can_be_extracted(run: Path, command: Command) -> None:
    small = ("--set", "population=6", "--set", "generations=3")
    result = command("search", run, "--strategy", "nsga2", *small)
    assert result.code == 0, result.err
    records = read(run / "searches" / "nsga2")[1]
    assert [record.state for record in records] == ["complete"] * 18
    points = [(record.score, record.metrics["macs"]) for record in records]
    best = {points[i] for i in front(points, (True, False))}
    shown = numbers_of(result.out)
    assert {points[number] for number in shown} == best
    assert len(shown) == len(best)
    words = ("extract", run, "--search", "nsga2", "--trial", str(shown[-1]))
    folder = run / "models" / f"nsga2-{shown[-1]}"
    assert command(*words).out == f"nsga2-{shown[-1]} subnet written to {folder}\n"
    config = read_config(folder)
    assert config["arch"] == records[shown[-1]].arch.to_dict()
    assert config["provenance"]["chosen"] == f"trial {shown[-1]} of 18 subnets by nsga2 search"
    assert refusal(command(*words[:-1], "99")) == "the search has no trial 99 with a score"
    assert refusal(command(*words, "--arch", "largest")) == (
        f"trial {shown[-1]} is of a search, but --arch names largest; give one of them"
    )


def test_slimming_gives_a_subnet_for_each_budget(run: Path, command: Command) -> None:
    net = vitnas.load(run / "supernet")
    assert isinstance(net, Supernet)
    assert net.space is not None
    high, low = (
        cost.macs(arch, **net.config.to_dict()) for arch in (net.space.largest, net.space.smallest)
    )
    targets = [round(high * 0.7), round(low * 1.3)]
    words = ("search", run, "--strategy", "slimming", "--set")
    assert refusal(command(*words, "targets=[10]")).startswith(
        "no architecture satisfies macs <= 10: the smallest in this space has "
    )
    result = command(*words, f"targets={targets}")
    assert result.code == 0, result.err
    records = read(run / "searches" / "slimming")[1]
    shown = [records[number] for number in numbers_of(result.out)]
    assert len(shown) == 2
    for record, target in zip(shown, reversed(targets), strict=True):
        assert record.metrics["macs"] <= target
        assert records[record.parents[0]].metrics["macs"] > target
    assert command("extract", run, "--search", "slimming").code == 0
    assert read_config(run / "models" / "slimming")["arch"] == shown[0].arch.to_dict()
    assert refusal(command(*words, "cost=macs", "--max-macs", str(targets[0]))) == (
        "slimming starts from the dearest architecture, which the limits forbid: "
        f"{Limit('macs', maximum=targets[0])}; give budgets as targets instead"
    )


def test_tied_layers_are_a_search_of_their_own(run: Path, command: Command) -> None:
    words = ("search", run, "--strategy", "random", "--tied", "on")
    result = command(*words, "--trials", "100")
    assert result.code == 0, result.err
    settings, records = read(run / "searches" / "random-tied")
    assert len(records) == settings.space.size() == 2 * 2 * 2 * 2
    for record in records:
        genes = record.arch.num_heads, record.arch.mlp_ratio
        assert all(len(set(gene)) == 1 for gene in genes)
    assert refusal(command(*words[:-1], "off", "--trials", "6", "--name", "random-tied")) == (
        f"{run / 'searches' / 'random-tied'} holds a search with space autoformer "
        "(mlp_ratio (1, 2) tied, num_heads (1, 2) tied), not autoformer (mlp_ratio (1, 2), "
        "num_heads (1, 2)); repeat it with the same space to resume, or use another folder (--name)"
    )


@pytest.mark.parametrize("strategy", ["evolution", "nsga2"])
def test_a_search_starts_from_what_training_knows(
    strategy: str, run: Path, command: Command
) -> None:
    small = ["population=4", "generations=2", "initial=prior"]
    small += ["mutants=2", "crossovers=2"] if strategy == "evolution" else []
    options = [word for option in small for word in ("--set", option)]
    words = ("search", run, "--strategy", strategy, *options)
    result = command(*words)
    assert result.code == 0, result.err
    settings, records = read(run / "searches" / strategy)
    assert [record.origin for record in records if record.generation == 0] == ["prior"] * 4
    row = settings.options["prior"]["embed_dim"]
    assert sum(row) == pytest.approx(1, abs=1e-4)
    assert row != [0.5, 0.5]
    before = files_in(run / "searches")
    assert command(*words).out == result.out
    assert files_in(run / "searches") == before
    assert refusal(command("search", run / "supernet", *words[2:])) == (
        f"initial=prior needs the losses of a training; {run / 'supernet'} has no config.yaml, so "
        "it was not trained here"
    )

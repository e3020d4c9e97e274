"""`vitnas search` under limits on latency, memory, and what originals count; objectives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from optuna.storages import InMemoryStorage

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.cost import conditions
from vitnas.cost.table import LatencyTable
from vitnas.folder import read_config
from vitnas.run import LATENCY
from vitnas.search import remote, workers
from vitnas.search.ledger import read
from vitnas.search.limits import exact
from vitnas.supernet import Supernet

from .calling import files_in, refusal
from .conftest import Command

FIRST = """
import fcntl, pathlib, sys, time
with open(sys.argv[1], "ab") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("locked", flush=True)
    table = sys.stdin.buffer.read()
    time.sleep(0.2)
    pathlib.Path(sys.argv[2]).write_bytes(table)
"""
ON_CPU = ("--device", "cpu", "--images", "20", "--batch-size", "20")
RANDOM = ("--strategy", "random", *ON_CPU)


def supernet(run: Path) -> Supernet:
    net = vitnas.load(run / "supernet")
    assert isinstance(net, Supernet)
    return net


def peaks(run: Path) -> tuple[int, int]:
    """Return the peak memory of the smallest and the largest subnet."""
    net = supernet(run)
    assert net.space is not None
    ends = (net.space.smallest, net.space.largest)
    low, high = (cost.memory(arch, **net.config.to_dict(), device="cpu") for arch in ends)
    return low, high


@pytest.fixture(scope="module")
def timed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a search of three subnets under a limit on latency."""
    from vitnas.cli import main

    run = tmp_path_factory.mktemp("timed") / "run"
    shutil.copytree(trained, run)
    words = ("search", str(run), *RANDOM, "--trials", "3", "--max-latency", "10s")
    assert main([*words, "--measure", "threads=1"]) == 0
    return run


def test_latency_comes_from_a_table_that_the_search_keeps(timed: Path) -> None:
    settings, records = read(timed / "searches" / "random")
    table = LatencyTable.load(timed / "searches" / "random" / LATENCY)
    assert [str(limit) for limit in settings.limits] == ["latency <= 10 s"]
    assert [record.metrics["latency"] for record in records] == [table(r.arch) for r in records]
    assert table.settings == cost.settings("cpu", threads=1)
    assert table.error.archs == 10
    (kept,) = (timed / "cache").glob("latency-*.json")
    assert LatencyTable.load(kept) == table


def test_a_search_goes_on_with_its_own_table(timed: Path, tmp_path: Path, command: Command) -> None:
    run = Path(shutil.copytree(timed, tmp_path / "run"))
    for kept in (run / "cache").glob("latency-*.json"):
        kept.unlink()
    words = ("search", run, *RANDOM, "--trials", "4", "--max-latency", "10s")
    result = command(*words, "--measure", "threads=1")
    assert result.code == 0
    assert "measuring" not in result.err
    table = LatencyTable.load(run / "searches" / "random" / LATENCY)
    told = f"latency is for {table.settings}; {table.error}"
    assert result.out.splitlines()[-1] == told
    records = read(run / "searches" / "random")[1]
    assert len(records) == 4
    assert records[-1].metrics["latency"] == table(records[-1].arch)

    before = files_in(run)
    other = refusal(command(*words, "--measure", "threads=1", "--measure", "batch_size=2"))
    path = run / "searches" / "random" / LATENCY
    assert other == (
        f"the latency table {path} was measured with batch_size 1, not 2, and holds there only; "
        "measure another one"
    )
    assert files_in(run) == before


def test_another_search_of_the_run_measures_nothing(
    timed: Path, tmp_path: Path, command: Command
) -> None:
    run = Path(shutil.copytree(timed, tmp_path / "run"))
    words = ("search", run, *RANDOM, "--name", "second", "--trials", "2", "--min-latency", "1ns")
    result = command(*words, "--measure", "threads=1")
    assert result.code == 0
    assert "measuring" not in result.err
    tables = [run / "searches" / name / LATENCY for name in ("random", "second")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_impossible_latencies_show_what_was_found(timed: Path, command: Command) -> None:
    before = files_in(timed)
    words = ("search", timed, *RANDOM, "--trials", "2", "--name", "none", "--measure", "threads=1")
    refused = refusal(command(*words, "--max-latency", "1ns"))
    net, table = supernet(timed), LatencyTable.load(timed / "searches" / "random" / LATENCY)
    assert net.space is not None
    low = min(table(arch) for arch in net.space)
    assert refused.startswith("no architecture satisfies latency <= 1 ns: the smallest found ")
    least = exact("latency", low)
    assert f"has {least}, the largest " in refused
    none = ("search", timed, *RANDOM, "--trials", "1", "--name", "least", "--measure", "threads=1")
    assert command(*none, "--max-latency", least.replace(" ", "")).code == 0
    shutil.rmtree(timed / "searches" / "least")
    both = refusal(command(*words, "--max-latency", "10s", "--max-params", "1k"))
    assert both.startswith("no architecture satisfies params <= 1k: the smallest in this space has")
    assert files_in(timed) == before


def test_memory_is_limited_and_minimized(run: Path, command: Command) -> None:
    low, high = peaks(run)
    between = (low + high) // 2
    words = ("search", run, "--strategy", "nsga2", *ON_CPU, "--trials", "6")
    options = ("--set", "population=3", "--set", "generations=2", "--objective", "memory")
    result = command(*words, *options, "--max-memory", f"{between}B")
    assert result.code == 0
    assert result.out.splitlines()[-1] == f"memory is for {cost.settings('cpu')}"
    settings, records = read(run / "searches" / "nsga2")
    assert settings.options["minimize"] == ["memory"]
    net = supernet(run)
    for record in records:
        peak = cost.memory(record.arch, **net.config.to_dict(), device="cpu")
        assert record.metrics["memory"] == peak <= between
    assert not (run / "searches" / "nsga2" / LATENCY).exists()

    before = files_in(run)
    assert refusal(command(*words, *options, "--measure", "batch_size=2")) == (
        f"the memory of the search {run / 'searches' / 'nsga2'} is for batch_size 1, not 2; repeat "
        "it with the same --measure, or take another --name"
    )
    assert files_in(run) == before


def test_slimming_by_latency_has_the_networks_of_its_targets(
    timed: Path, tmp_path: Path, command: Command
) -> None:
    run = Path(shutil.copytree(timed, tmp_path / "run"))
    (kept,) = (run / "cache").glob("latency-*.json")
    table, net = LatencyTable.load(kept), supernet(run)
    assert net.space is not None
    target = round((table(net.space.smallest) + table(net.space.largest)) / 2, 9)
    words = ("--strategy", "slimming", *ON_CPU, "--measure", "threads=1", "--set", "cost=latency")
    given = ("--set", f"targets=[{1e9 * target:.0f}ns]", "--max-memory", "1GB")
    assert command("search", run, *words, *given).code == 0
    assert command("extract", run, "--search", "slimming").code == 0
    arch = read_config(run / "models" / "slimming")["arch"]
    assert table(Arch.from_dict(arch)) <= target < table(net.space.largest)

    (run / "searches" / "slimming" / "memory.json").write_text("{}")
    lost = refusal(command("extract", run, "--search", "slimming", "--output", tmp_path / "again"))
    assert "memory.json does not say what memory is for" in lost


def test_who_comes_second_waits_for_the_table_of_the_first(
    timed: Path, tmp_path: Path, command: Command
) -> None:
    run = Path(shutil.copytree(timed, tmp_path / "run"))
    (kept,) = (run / "cache").glob("latency-*.json")
    table = kept.read_bytes()
    kept.unlink()
    with subprocess.Popen(
        [sys.executable, "-c", FIRST, kept.with_suffix(".lock"), kept],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdin
        assert first.stdout
        assert first.stdout.readline() == b"locked\n"
        first.stdin.write(table)
        first.stdin.close()
        words = ("search", run, *RANDOM, "--name", "second", "--trials", "2", "--max-latency", "9s")
        result = command(*words, "--measure", "threads=1")
    assert result.code == 0
    assert "measuring" not in result.err
    assert (run / "searches" / "second" / LATENCY).read_bytes() == table


def test_a_worker_with_a_table_of_its_own_is_refused(
    trained: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = InMemoryStorage()
    monkeypatch.setattr(remote, "open_storage", lambda address: storage)
    here, there = (Path(shutil.copytree(trained, tmp_path / at / "run")) for at in ("a", "b"))
    words = (*RANDOM, "--trials", "2", "--max-latency", "9s", "--ledger", "grpc://host:1")
    assert command("search", here, *words).code == 0
    (own,) = (here / "cache").glob("latency-*.json")

    monkeypatch.setattr(conditions, "_hardware", lambda device: "Another CPU")
    refused = command("search", there, *words)
    (other,) = (there / "cache").glob("latency-*.json")
    first, second = map(LatencyTable.load, (own, other))
    assert second.settings.hardware == "Another CPU"
    told = (
        f" holds a search with costs of {first.settings}, latency table {first.digest}, not of "
        f"{second.settings}, latency table {second.digest}; all workers need that hardware and one "
        "table: copy latency.json from the search's folder on the machine that began it, or use "
        "another folder (--name)"
    )
    line = refused.err.splitlines()[-1]
    assert refused.code == 2
    assert line.startswith("vitnas: grpc://host:1, study 'random ")
    assert line.endswith(told)
    assert not (there / "searches" / "random" / LATENCY).exists()


def test_workers_take_the_table_of_the_command(
    trained: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers divide the threads, but latency is that of all of them."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))

    def in_turn(work: Callable[[int], None], count: int, watch: Callable[[], bool]) -> None:
        for place in range(count):
            work(place)

    monkeypatch.setattr(workers, "run_workers", in_turn)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        words = (*RANDOM, "--trials", "2", "--max-latency", "9s", "--workers", "2")
        result = command("search", run, *words)
    finally:
        torch.set_num_threads(before)
    assert result.code == 0
    (kept,) = (run / "cache").glob("latency-*.json")
    table = LatencyTable.load(kept)
    assert table.settings.threads == 2
    assert result.out.splitlines()[-1] == f"latency is for {table.settings}; {table.error}"
    records = read(run / "searches" / "random")[1]
    assert [record.metrics["latency"] for record in records] == [table(r.arch) for r in records]


def test_impossible_memory_shows_what_was_found(trained: Path, command: Command) -> None:
    low, high = peaks(trained)
    words = ("search", trained, *RANDOM, "--trials", "1")
    assert refusal(command(*words, "--max-memory", "1kB")) == (
        f"no architecture satisfies memory <= 1 kB: the smallest found has {low / 1e3:g} kB, the "
        f"largest {high / 1e3:g} kB"
    )
    doubled = refusal(command(*words, "--max-memory", "1kB", "--measure", "batch_size=2"))
    assert doubled != refusal(command(*words, "--max-memory", "1kB"))


def test_what_an_original_counts_can_be_limited(run: Path, command: Command) -> None:
    net = supernet(run)
    assert net.space is not None
    counts = [
        cost.convention("cream", arch, **net.config.to_dict())
        for arch in (net.space.smallest, net.space.largest)
    ]
    words = ("search", run, *RANDOM, "--trials", "2", "--name", "cream")
    middle = sum(counts) / 2
    assert command(*words, "--max", f"cream={middle}").code == 0
    for record in read(run / "searches" / "cream")[1]:
        wanted = cost.convention("cream", record.arch, **net.config.to_dict())
        assert record.metrics["cream"] == wanted <= middle
    assert refusal(command(*words, "--name", "no", "--min", "cream=1T")) == (
        f"no architecture satisfies cream >= 1000G: the largest in this space has "
        f"{counts[1]:,.0f}, the smallest {counts[0]:,.0f}"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-latency", "5"), "'5' has no unit; did you mean 5ms? (allowed: s, ms, us, µs, ns)"),
        (("--max-latency", "5M"), "'5M' has the unknown unit 'M'; did you mean 5ms? (allowed: s, "
         "ms, us, µs, ns)"),
        (("--max-memory", "100M"), "'100M' has the unknown unit 'M'; did you mean 100MB? (allowed: "
         "B, kB, MB, GB, KiB, MiB, GiB)"),
        (("--min-latency", "5ms", "--max-latency", "4ms"), "the limit on latency is reversed: 5 ms "
         "is above 4 ms"),
        (("--max", "params"), "--max 'params' must look like NAME=VALUE, e.g. params=6M"),
        (("--min", "parms=3"), "unknown metric 'parms'; did you mean 'params'? (allowed: "
         "{metrics})"),
        (("--max", "params=9k", "--max-params", "8k"), "--max of params is given twice"),
        (("--objective", "latency"), "--objective latency: strategy evolution has one objective, "
         "the score; strategies with more: {many}"),
        (("--strategy", "nsga2", "--objective", "flops"), "unknown metric 'flops' (allowed: "
         "{metrics}); what papers call FLOPs are multiply-adds, macs"),
        (("--strategy", "nsga2", "--objective", "params", "--set", "minimize=[macs]"),
         "the objectives are given twice: --objective and --set minimize"),
        (("--measure", "threads=1"), "--measure is of latency and memory, which this search does "
         "not ask for"),
        (("--max-memory", "1GB", "--measure", "backend=eager"), "--measure backend is of latency, "
         "which this search does not ask for; memory is that of torch without a compiler"),
        (("--max-memory", "1GB", "--measure", "batch=1"), "unknown setting to measure with 'batch';"
         " did you mean 'batch_size'? (allowed: backend, batch_size, device, dtype, threads)"),
        (("--max-memory", "1GB", "--measure", "threads=2", "--measure", "threads=3"),
         "--measure threads is given twice"),
        (("--max-memory", "1GB", "--measure", "dtype=half"), "unknown dtype 'half' (allowed: "
         "bfloat16, float16, float32)"),
    ],
)  # fmt: skip
def test_refused_words_leave_no_trace(
    words: tuple[str, ...], message: str, trained: Path, command: Command
) -> None:
    from vitnas.cost.metrics import METRICS
    from vitnas.search.searcher import STRATEGIES

    before = files_in(trained)
    metrics = ", ".join(sorted((*METRICS, *cost.CONVENTIONS)))
    many = ", ".join(n for n, s in STRATEGIES.items() if hasattr(s.options(), "minimize"))
    told = refusal(command("search", trained, "--device", "cpu", *words))
    assert told == message.format(metrics=metrics, many=many)
    assert files_in(trained) == before


def test_a_damaged_table_is_refused(timed: Path, tmp_path: Path, command: Command) -> None:
    run = Path(shutil.copytree(timed, tmp_path / "run"))
    path = run / "searches" / "random" / LATENCY
    record = json.loads(path.read_text())
    del record["rows"]
    path.write_text(json.dumps(record))
    words = ("search", run, *RANDOM, "--trials", "3", "--max-latency", "10s")
    assert refusal(command(*words, "--measure", "threads=1")) == (
        f"{path} is no latency table: KeyError('rows')"
    )

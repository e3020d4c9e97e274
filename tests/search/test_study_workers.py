"""Several workers on one ledger: what they find is what one worker finds, whoever dies."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vitnas.search.ledger import Record, read
from vitnas.testing.searchers import score
from vitnas.testing.servers import grpc_proxy, postgres

from . import working
from .interrupted import TRIALS, run, untouched
from .outcomes import best, proposals


@contextmanager
def ledger_at(kind: str, folder: Path) -> Iterator[str]:
    """The address of a ledger."""
    if kind == "journal":
        yield "-"
    elif kind == "grpc":
        with grpc_proxy(f"sqlite:///{folder / 'ledger.db'}") as proxy:
            yield proxy.address
    else:
        with postgres() as server:
            yield server.address


def check(folder: Path, alone: list[Record], dead: int) -> None:
    """The journal of the run holds what one worker finds; only the dead left work to repeat."""
    records = read(folder)[1]
    assert [record.number for record in records] == list(range(len(records)))
    done = sorted(records, key=lambda record: record.index)
    assert {record.state for record in done} <= {"complete", "stopped"}
    assert proposals(done) == proposals(alone)
    for found, expected in zip(best(done), best(alone), strict=True):
        assert (found.arch, found.score) == (expected.arch, score(expected.arch))
    counts = Counter(arch for archs in working.noted(folder) for arch in archs)
    assert set(counts) == {record.arch.to_json() for record in alone}
    lost = working.noted(folder)[:dead]
    repeated = {arch for arch, count in counts.items() if count > 1}
    assert repeated <= {arch for archs in lost for arch in archs}, "evaluated twice"
    assert max(counts.values()) <= 1 + dead


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("journal", "evolution"),
        ("journal", "random"),
        ("journal", "regularized"),
        ("grpc", "evolution"),
        ("postgresql", "evolution"),
    ],
)
def test_four_workers_of_which_two_are_killed(kind: str, strategy: str, tmp_path: Path) -> None:
    alone = run(tmp_path / "alone" / strategy, strategy)
    folder = tmp_path / "shared" / strategy
    folder.mkdir(parents=True)
    with ledger_at(kind, tmp_path) as address:
        workers = [
            working.start(folder, strategy, address, f"{i}", (3, 5, 0, 0)[i]) for i in range(4)
        ]
        ends = [(worker.communicate(timeout=60)[1], worker.returncode) for worker in workers]
        assert [code for _, code in ends[2:]] == [0, 0], ends
        check(folder, alone, dead=2)
        if kind != "journal":  # the ledger itself, without what the run keeps
            again = run(tmp_path / "elsewhere" / strategy, strategy, untouched, ledger=address)
            assert proposals(again) == proposals(alone)


@pytest.mark.slow  # PostgreSQL, and five processes
@pytest.mark.parametrize("seed", range(4))
def test_two_of_four_workers_are_killed_at_random_moments(seed: int, tmp_path: Path) -> None:
    """At any moment: while it evaluates, claims, records, waits, or begins."""
    rng = random.Random(seed)
    alone = run(tmp_path / "alone" / "run")
    folder = tmp_path / "shared" / "run"
    folder.mkdir(parents=True)
    moments = sorted(rng.randrange(TRIALS - 10) for _ in range(2))
    with postgres() as server:
        for name in "0123":
            (folder.parent / f"{name}.txt").touch()
        workers = [working.start(folder, "evolution", server.address, name) for name in "0123"]
        for victim, moment in zip(workers, moments, strict=False):
            while sum(map(len, working.noted(folder))) < moment:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
            victim.kill()
        ends = [(worker.communicate(timeout=100)[1], worker.returncode) for worker in workers]
        assert [code for _, code in ends] == [-9, -9, 0, 0], ends
        check(folder, alone, dead=2)
        again = run(tmp_path / "elsewhere" / "run", "evolution", untouched, ledger=server.address)
        assert proposals(again) == proposals(alone)

"""The loop of space evolution, with toy supernets."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vitnas.errors import InputError
from vitnas.search.ledger import read
from vitnas.search.limits import Limit
from vitnas.search.space_evolution import Trained, read_rounds
from vitnas.search.space_evolution_decision import decide
from vitnas.search.space_evolution_dimensions import (
    Dimension,
    dimensions,
    values_of,
    with_values_of,
)
from vitnas.search.space_evolution_round import Options, Round
from vitnas.space import Space

from . import evolving
from .evolving import LIMITS, SPACE, SUBNETS, Toy, macs, run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Toy, list[Round]]:
    folder, toy = tmp_path_factory.mktemp("whole") / "run", Toy()
    return folder, toy, run(folder, toy)


def test_each_round_trains_the_space_that_the_one_before_led_to(
    whole: tuple[Path, Toy, list[Round]],
) -> None:
    folder, toy, rounds = whole
    assert rounds[0].space == SPACE
    assert [number for number, _ in toy.trained] == list(range(len(rounds)))
    assert [space for _, space in toy.trained] == [found.space for found in rounds]
    for before, after in pairwise(rounds):
        assert after.space == before.next != before.space
    assert rounds[-1].quality.error < rounds[0].quality.error - 1
    assert read_rounds(folder) == rounds
    told = json.loads((folder / "round-0.json").read_text())
    assert told["moves"][0]["why"]


def test_the_space_walks_to_the_optimum_and_the_loop_ends(tmp_path: Path) -> None:
    rounds = run(tmp_path, Toy(), rounds=12, subnets=300)
    assert len(rounds) < 12
    assert rounds[-1].next == rounds[-1].space
    final = rounds[-1].space
    assert 5 in values_of(final, Dimension("depth", 1))
    assert 5 in values_of(final, Dimension("num_heads", 1))
    assert values_of(final, Dimension("depth", 0)) == (1, 2, 3)
    assert values_of(final, Dimension("num_heads", 0)) == (2, 3, 4)


def test_subnets_are_drawn_under_the_budget_without_repetition(
    whole: tuple[Path, Toy, list[Round]],
) -> None:
    folder, toy, rounds = whole
    assert len(toy.evaluated) == SUBNETS * len(rounds)
    (limit,) = LIMITS
    assert limit.maximum is not None
    for number, found in enumerate(rounds):
        archs = toy.evaluated[number * SUBNETS : (number + 1) * SUBNETS]
        assert len(set(archs)) == SUBNETS
        assert max(map(macs, archs)) <= limit.maximum
        for arch in archs:
            found.space.validate(arch)
        settings, records = read(folder / f"round-{number}")
        assert settings.evaluated_on == f"weights of round {number}"
        assert [record.metrics["macs"] for record in records] == list(map(macs, archs))


def test_a_finished_evolution_trains_nothing_and_more_rounds_continue(
    whole: tuple[Path, Toy, list[Round]], tmp_path: Path
) -> None:
    folder, _, rounds = whole
    toy = Toy()
    assert run(folder, toy) == rounds
    assert (toy.trained, toy.evaluated) == ([], [])
    short = run(tmp_path, Toy(), rounds=1)
    assert short == rounds[:2]
    toy = Toy()
    assert run(tmp_path, toy, rounds=3) == rounds
    assert [number for number, _ in toy.trained] == list(range(2, len(rounds)))


def test_a_second_process_is_refused_and_does_not_disturb_the_first(
    whole: tuple[Path, Toy, list[Round]], tmp_path: Path
) -> None:
    refused = []

    class Watched(Toy):
        def train(self, space: Space, number: int) -> Trained:
            if number == 1:
                words = [sys.executable, evolving.__file__, str(tmp_path), "0"]
                refused.append(subprocess.run(words, capture_output=True, text=True))
            return super().train(space, number)

    assert run(tmp_path, Watched()) == whole[2]
    (second,) = refused
    assert second.returncode == 1
    told = f"another process is evolving the space in {tmp_path}; stop it or wait for its end"
    assert second.stderr.endswith(f"InputError: {told}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in whole[0].iterdir()
    )


@pytest.mark.parametrize("count", [1, 30, SUBNETS, SUBNETS + 1, SUBNETS + 37])
def test_a_killed_evolution_resumes_at_the_subnet_it_had_reached(
    count: int, whole: tuple[Path, Toy, list[Round]], tmp_path: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, evolving.__file__, str(tmp_path), str(count)], check=False
    )
    assert killed.returncode == -9
    toy, (_, _, rounds) = Toy(), whole
    assert run(tmp_path, toy) == rounds
    left = SUBNETS * len(rounds) - len(toy.evaluated)
    assert count - 4 <= left < count
    assert toy.trained[0][0] == left // SUBNETS


def test_a_rounds_decision_can_be_made_again_from_what_lies_on_disk(
    whole: tuple[Path, Toy, list[Round]],
) -> None:
    folder, _, rounds = whole
    for found in read_rounds(folder):
        _, records = read(folder / f"round-{found.number}")
        ordered = sorted(records, key=lambda record: record.index)
        results = [(record.arch, 100 - record.score) for record in ordered]
        again = decide(
            found.space, results, options=found.options, number=found.number, seed=found.seed
        )
        assert again == found == rounds[found.number]


def test_a_space_smaller_than_the_draw_is_evaluated_whole(tmp_path: Path) -> None:
    small = with_values_of(
        SPACE, {Dimension("embed_dim", n): (24,) for n in (0, 1)} | {Dimension("depth", 0): (2,)}
    )
    toy = Toy()
    run(tmp_path, toy, space=small, rounds=1, subnets=1000)
    assert len(toy.trained) == 2
    assert 27 <= len(toy.evaluated) <= 2 * 27


def test_moves_to_a_space_beyond_the_budget_are_refused(tmp_path: Path) -> None:
    (found,) = run(
        tmp_path,
        Toy(),
        space=with_values_of(SPACE, {Dimension("depth", 1): (2, 3)}),
        costs={"layers": lambda arch: float(arch.depth[1])},
        limits=(Limit("layers", maximum=3),),
        subnets=200,
        options=Options(threshold=0.2),
    )
    assert any(move.new == (4, 5) for move in found.moves)
    assert found.next == found.space
    assert found.refused == (
        "no architecture satisfies layers <= 3: the smallest in this space has 4, the largest 5"
    )
    assert read_rounds(tmp_path) == [found]


def test_a_space_that_cant_be_is_not_entered(tmp_path: Path) -> None:
    def check(space: Space) -> None:
        whole = all(len(values_of(space, dimension)) > 1 for dimension in dimensions(space))
        if whole and space != SPACE:
            raise InputError("these are the same network")

    (found,) = run(tmp_path, Toy(), check=check)
    assert any(move.shift for move in found.moves)
    assert (found.next, found.refused) == (SPACE, "these are the same network")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"limits": ()}, "space evolution needs a budget, such as at most so many MACs"),
        ({"limits": (Limit("macs", minimum=1),)}, "space evolution needs a budget"),
        ({"limits": (Limit("macs", maximum=1),)}, "no architecture satisfies macs <= 1"),
        ({"limits": (Limit("watts", maximum=1),)}, "unknown metric to limit 'watts'"),
        ({"rounds": 0}, "rounds is 0; it must be at least 1"),
        ({"subnets": 15}, "subnets is 15; it must be at least 16"),
        ({"options": Options(steps={"dept": 1})}, "unknown dimension in steps 'dept'"),
    ],
)
def test_what_cant_be_evolved_is_refused_before_training(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    toy = Toy()
    with pytest.raises(InputError) as caught:
        run(tmp_path / "run", toy, **changes)
    assert str(caught.value).startswith(told)
    assert toy.trained == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 4}, "seed"),
        ({"subnets": 61}, "subnets"),
        ({"options": Options()}, "options (false_moves, resamples)"),
        ({"recipe": {"epochs": 3}}, "recipe (epochs)"),
        ({"limits": (Limit("macs", maximum=30_000),)}, "limits"),
        ({"space": with_values_of(SPACE, {Dimension("depth", 0): (2, 3)})}, "space"),
    ],
)
def test_another_evolutions_folder_is_refused(
    changes: dict[str, Any], name: str, whole: tuple[Path, Toy, list[Round]]
) -> None:
    with pytest.raises(InputError) as caught:
        run(whole[0], Toy(), **changes)
    assert str(caught.value) == (
        f"{whole[0]} holds a space evolution with another {name}: repeat it with the same "
        f"{name.partition(' ')[0]} to resume, or use another folder"
    )


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    run(tmp_path, Toy(), rounds=1)
    (tmp_path / "round-1.json").write_text("{}")
    with pytest.raises(InputError, match=r"round-1\.json is damaged: not a record of space evol"):
        run(tmp_path, Toy(), rounds=1)
    (tmp_path / "round-0.json").replace(tmp_path / "round-1.json")
    with pytest.raises(InputError, match=r"round-1\.json is not about the space that the round"):
        run(tmp_path, Toy(), rounds=1)

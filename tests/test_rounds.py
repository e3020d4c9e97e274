from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from report import demo
from vitnas import files
from vitnas.commands import Command, commands, recorded
from vitnas.rounds import Rounds, rounds_of
from vitnas.search.ledger import Ledger, Settings
from vitnas.search.records import to_trial
from vitnas.standing import last_step

WORDS = ("evolve-space", "digits", "run")


def stand(run: Path) -> Rounds:
    """Where it stands, if the first round trains four epochs and each other two."""

    def epochs(folder: Path, command: Command | None) -> int:
        assert command is None or command.words == WORDS
        return 4 if folder.name == "0" else 2

    found = rounds_of(run, epochs)
    assert found is not None
    return found


def train(folder: Path, steps: int, end: float) -> None:
    """Write the metrics of a training of five steps an epoch."""
    lines = [{"kind": "step", "step": i, "epoch": (i - 1) // 5} for i in range(1, steps + 1)]
    ends = [{"kind": "speed", "step": 5 * i, "epoch": i - 1} for i in range(1, steps // 5 + 1)]
    lines = sorted((*lines, *ends), key=lambda line: int(str(line["step"])))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    os.utime(files.write(folder / "metrics.jsonl", text), (end, end))


def evaluate(folder: Path, count: int) -> None:
    """Write a ledger of trials that took half a second each."""
    with Ledger(folder, Settings(demo.SPACE, (), "random", {}, 0)) as ledger:
        for index in range(count):
            trial = to_trial(
                demo.SPACE,
                demo.SPACE.sample(index),
                index=index,
                origin="random",
                parents=(),
                generation=0,
                costs={},
                result={"score": float(index)},
                seconds=0.5,
            )
            ledger.add(trial)


def end(run: Path, number: int, moment: float, *, moved: bool) -> None:
    """Write what a round found out."""
    path = run / "space-evolution" / f"round-{number}.json"
    files.write_json(path, {"space": number, "next": number + moved})
    os.utime(path, (moment, moment))


def test_what_is_left_follows_from_the_round_under_way(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = {"rounds": 3, "subnets": 4, "trials": 10}
    assert rounds_of(run, lambda *_: None) is None
    with recorded(run, WORDS, arguments):
        began = commands(run)[-1].began
        train(run / "rounds" / "0", 10, began + 20)
        found = stand(run)
        assert (found.number, found.most, found.evaluation, found.evaluated) == (0, 3, None, False)
        assert found.training is not None
        # two seconds a step; ten steps in this round, and ten in each of the three others
        assert found.training.seconds_left == pytest.approx(20)
        assert found.seconds_left == pytest.approx(80)

        evaluate(run / "space-evolution" / "round-0", 1)
        found = stand(run)
        assert found.evaluated
        assert found.evaluation is not None
        assert (found.evaluation.done, found.evaluation.trials) == (1, 4)
        # 15 more subnets in four rounds, and ten in the search at the end
        assert found.seconds_left == pytest.approx(80 + 0.5 * 25)

        end(run, 0, began + 100, moved=True)
        train(run / "rounds" / "1", 3, began + 103)
        found = stand(run)
        assert found.training is not None
        # one second a step, from the end of the round before; an epoch is as long as there
        assert found.training.seconds_left == pytest.approx(7)
        assert found.seconds_left == pytest.approx(7 + 20 + 0.5 * (12 + 10))
        assert last_step(run) == 3
        assert found.evaluation is not None
        assert (found.number, found.evaluation.name) == (1, "round-0")  # the last there is

        train(run / "rounds" / "1", 10, began + 110)
        evaluate(run / "space-evolution" / "round-1", 3)
        end(run, 1, began + 120, moved=False)
        found = stand(run)
        assert found.seconds_left == pytest.approx(0.5 * 10)  # it ends where nothing moves
        assert found.evaluation is not None
        assert found.evaluation.seconds_left is None  # the space had no fourth subnet

        evaluate(run / "rounds" / "1" / "searches" / "evolution", 0)
        assert stand(run).seconds_left == pytest.approx(0.5 * 10)  # begun, no trial yet
        evaluate(run / "rounds" / "1" / "searches" / "evolution", 6)
        found = stand(run)
        ((name, done, trials),) = [(one.name, one.done, one.trials) for one in found.searches]
        assert (name, done, trials) == ("round-1/evolution", 6, 10)
        assert found.seconds_left == found.searches[0].seconds_left
    found = stand(run)
    assert (found.seconds_left, found.faults) == (None, [])


def test_a_round_that_goes_on_counts_the_steps_since(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run / "rounds" / "0", 10, 0)
    with recorded(run, WORDS, {"rounds": 0, "subnets": 4, "trials": None}, last_step(run)):
        train(run / "rounds" / "0", 12, commands(run)[-1].began + 6)
        assert stand(run).seconds_left == pytest.approx(8 * 3)
    train(run / "rounds" / "0", 20, 0)
    evaluate(run / "space-evolution" / "round-0", 1)
    with recorded(run, WORDS, {"rounds": 0, "subnets": 4, "trials": None}, last_step(run)):
        assert stand(run).seconds_left == pytest.approx(3 * 0.5)  # it is trained already
    with recorded(run, WORDS, {"rounds": 1, "subnets": 4, "trials": None}, last_step(run)):
        assert stand(run).seconds_left is None  # how fast it trains nobody has seen


def test_damage_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with recorded(run, WORDS, {"rounds": "3", "subnets": 4}):
        train(run / "rounds" / "0", 10, commands(run)[-1].began + 6)
        (run / "space-evolution" / "round-0").mkdir(parents=True)
        found = stand(run)
    assert (found.most, found.seconds_left, len(found.faults)) == (None, None, 1)

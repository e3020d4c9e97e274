from __future__ import annotations

from pathlib import Path

import pytest

from vitnas.errors import InputError
from vitnas.train.metrics import MetricsLog, read_metrics


def write(path: Path) -> None:
    log = MetricsLog(path, step=0, evaluated=0)
    for step in (1, 2, 3):
        log.append("step", step=step, epoch=(step - 1) // 2, loss=0.1 + 0.2, lr=1e-3)
        if step == 2:
            log.append("evaluation", step=2, epoch=0, top1=50.0)


def test_values_are_exact_and_a_torn_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path)
    with path.open("a") as file:
        file.write('{"kind": "step", "step": 4, "lo')
    lines = read_metrics(path)
    assert [line["step"] for line in lines] == [1, 2, 2, 3]
    assert lines[0] == {"kind": "step", "step": 1, "epoch": 0, "loss": 0.1 + 0.2, "lr": 1e-3}


@pytest.mark.parametrize(
    ("step", "evaluated", "kept"),
    [(0, 0, []), (1, 0, [1]), (2, 0, [1, 2]), (2, 1, [1, 2, 2]), (3, 1, [1, 2, 2, 3])],
)
def test_resuming_drops_what_will_be_repeated(
    tmp_path: Path, step: int, evaluated: int, kept: list[int]
) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path)
    MetricsLog(path, step=step, evaluated=evaluated)
    assert [line["step"] for line in read_metrics(path)] == kept


def test_no_space_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", step=0, evaluated=0)
    monkeypatch.setattr(log, "_path", Path("/dev/full"))
    with pytest.raises(InputError, match="can't write /dev/full: No space left on device"):
        log.append("step", step=1)

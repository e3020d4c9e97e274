"""`vitnas quickstart`, with trainings of one epoch in place of the real ones."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vitnas import cli

from .calling import files_in, refusal
from .conftest import Command

SHORT = ("epochs=1", "optim.warmup_epochs=0", "evaluate_every=1", "batch_size=256")


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    def shorter(verb: Any, *args: Any, overrides: tuple[str, ...], **options: Any) -> Any:
        return verb(*args, overrides=(*overrides, *SHORT), **options)

    for name in ("train", "finetune"):
        monkeypatch.setattr(cli, name, partial(shorter, getattr(cli, name)), raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("_short")
def test_the_whole_journey_and_the_same_again(tmp_path: Path, command: Command) -> None:
    run = tmp_path / "quickstart"
    result = command("quickstart", run, "--trials", "4")
    assert result.code == 0, result.err
    headings = re.findall(r"^(\d/5 \w+)", result.out, re.M)
    assert headings == ["1/5 Train", "2/5 Search", "3/5 Extract", "4/5 Evaluate", "5/5 Report"]
    assert max(map(len, result.out.splitlines())) < 250
    tested = re.findall(r"models/([\w-]+), test split of digits: top-1 [\d.]+", result.out)
    names = ["smallest", "searched", "largest"]
    assert tested == [part for name in names for part in (name, f"{name}-finetuned")]
    assert re.search(r"^ *. smallest .*\n.* searched .*\n.* largest ", result.out, re.M)
    last = result.out.splitlines()[-1]
    assert re.fullmatch(rf"report written to {run / 'report.html'}, \d+ s in all", last)
    chosen = json.loads((run / "models" / "searched" / "config.json").read_text())
    assert chosen["provenance"]["chosen"] == "best of 4 subnets by evolution search"
    assert chosen["provenance"]["limits"] == ["params <= 50k"]

    weights = {n: c for n, c in files_in(run).items() if n.endswith((".safetensors", ".journal"))}
    again = command("quickstart", run, "--trials", "4")
    assert again.code == 0
    assert again.out.count("is trained already; nothing to do") == 4
    assert again.out.splitlines()[-1].endswith("since it was resumed")
    assert {n: c for n, c in files_in(run).items() if n in weights} == weights


def test_nonsense_is_refused_before_anything_is_trained(tmp_path: Path, command: Command) -> None:
    run = tmp_path / "quickstart"
    message = refusal(command("quickstart", run, "--trials", "0"))
    assert message == "trials is 0; it must be at least 1"
    assert not run.exists()

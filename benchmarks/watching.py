"""How `vitnas view` shows a search of many trials, in headless Chromium, while it goes on.

A search of a cheap made-up score is made in a temporary folder; a second process goes on with it
while the page is open. Prints a row for each thing measured.
"""

from __future__ import annotations

import argparse
import bisect
import gzip
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vitnas
from vitnas.cost import counters
from vitnas.search.limits import Limit
from vitnas.search.racing import one_by_one
from vitnas.search.study import search

NAME = "evolution"
SHOWN = """() => Math.max(0, ...[...document.querySelectorAll('.js-plotly-plot')]
  .flatMap(box => box.data || []).filter(trace => trace.meta && trace.meta.role === 'best')
  .map(trace => trace.x[trace.x.length - 1]))"""
FIGURES = "() => document.querySelectorAll('.js-plotly-plot .main-svg').length"


def make(run: Path, trials: int, pause: float = 0.0, told: Any = None) -> None:
    """Search, or go on with it, with `pause` seconds for an evaluation; `told` gets each trial."""
    space = vitnas.space("autoformer-tiny")
    costs = counters(num_classes=1000, img_size=224)

    def score(arch: vitnas.Arch) -> dict[str, float]:
        time.sleep(pause)
        noise = random.Random(repr(arch)).gauss(0, 0.3)
        return {"score": 70 + 3 * math.log(costs["params"](arch) / 6e6) + noise}

    search(
        space,
        one_by_one(score),
        strategy=NAME,
        options={"generations": 1_000_000},
        limits=[Limit("params", maximum=6_500_000)],
        costs=costs,
        trials=trials,
        folder=run / "searches" / NAME,
        together=1 if pause else 64,
        racing=False,
        evaluated_on="made up",
        on_trial=told,
    )


def go_on(run: Path, trials: int, pause: float) -> None:
    """Go on with the search and print when each trial was recorded."""
    make(run, trials, pause, lambda record: print(json.dumps([record.number + 1, time.time()])))


def measure(trials: int, more: int, pause: float) -> list[tuple[str, str]]:
    """Return what was measured, in words."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / "run"
        make(run, trials)
        began = time.monotonic()
        words = [sys.executable, "-m", "vitnas", "view", str(run), "--port", "0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().split()[0]
                served = time.monotonic() - began
                browser = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
                found = _watch(browser, address, run, trials, more, pause)
            finally:
                server.terminate()
    return [("`vitnas view`: until it serves", f"{served:.1f} s"), *found]


def _watch(
    browser: Any, address: str, run: Path, trials: int, more: int, pause: float
) -> list[tuple[str, str]]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    began = time.monotonic()
    page.goto(f"{address}studies/0")
    _until(lambda: page.evaluate(FIGURES) > 0)
    first = time.monotonic() - began
    _until(lambda: page.evaluate(SHOWN) >= trials)
    whole = time.monotonic() - began
    page.wait_for_timeout(2000)
    clicked = time.monotonic()
    page.get_by_role("link", name="Trials (List)").or_(
        page.get_by_text("Trials (List)")
    ).first.click()
    page.get_by_text("Trial 0", exact=False).first.wait_for(timeout=60_000)
    turned = time.monotonic() - clicked
    page.goto(f"{address}studies/0")
    _until(lambda: page.evaluate(SHOWN) >= trials)
    lags = _follow(page, run, trials, more, pause)
    return [
        ("first answer, compressed / as it is", _size(address, 0)),
        ("a further answer", _size(address, trials + more)),
        ("page: first figure / all of ours", f"{first:.1f} / {whole:.1f} s"),
        ("page: list of trials", f"{turned:.1f} s"),
        (
            f"figures of {more} new trials: behind the ledger by",
            f"{statistics.median(lags):.1f} s (median), {max(lags):.1f} s at most",
        ),
    ]


def _follow(page: Any, run: Path, trials: int, more: int, pause: float) -> list[float]:
    """Return how many seconds after it was recorded each new trial was in the figures."""
    words = [sys.executable, __file__, "--go-on", str(run), "--trials", str(trials + more)]
    seen: list[tuple[int, float]] = []
    moments = run / "moments.jsonl"
    with (
        moments.open("w") as file,
        subprocess.Popen([*words, "--pause", str(pause)], stdout=file),
    ):
        _until(lambda: _look(page, seen) >= trials + more, 300)
    recorded = map(json.loads, moments.read_text().splitlines())
    counts = [shown for shown, _ in seen]
    return [
        seen[bisect.bisect_left(counts, number)][1] - moment
        for number, moment in recorded
        if number > trials
    ]


def _look(page: Any, seen: list[tuple[int, float]]) -> int:
    seen.append((int(page.evaluate(SHOWN)), time.time()))
    return seen[-1][0]


def _size(address: str, after: int) -> str:
    url = address.replace("/dashboard/", f"/api/studies/0?after={after}")
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    return f"{len(body) / 1e6:.2f} / {len(gzip.decompress(body)) / 1e6:.1f} MB"


def _until(reached: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError("the page does not show it")
        time.sleep(0.1)


def main() -> None:
    """Measure, or go on with a search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--more", type=int, default=120)
    parser.add_argument("--pause", type=float, default=0.25, help="seconds for an evaluation")
    parser.add_argument("--go-on", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.go_on:
        go_on(given.go_on, given.trials, given.pause)
        return
    for what, found in measure(given.trials, given.more, given.pause):
        print(f"| {what} | {found} |")


if __name__ == "__main__":
    main()

"""The report in a browser: load, click, filter, compare; light and dark, wide and narrow."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from report import demo
from report.browser import chromium, opened
from vitnas.report import figures
from vitnas.report.contents import Study
from vitnas.report.explore import explored
from vitnas.report.page import Explorer, Figure, Section, write_report
from vitnas.search.ledger import Record, Settings
from vitnas.search.pareto import front, hypervolume

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
SETTINGS = Settings(demo.SPACE, (demo.LIMIT,), "evolution", {}, 0)


def lineage(count: int) -> list[Record]:
    """Trials whose parents are the two before."""
    return [
        replace(
            record,
            parents=tuple(range(max(record.number - 2, 0), record.number)),
            generation=record.number // 10,
            origin="mutation" if record.number % 3 else "crossover",
        )
        for record in demo.records(count)
    ]


def sections(studies: dict[str, list[Record]]) -> list[Section]:
    found = [Study(name, SETTINGS, records) for name, records in studies.items()]
    pooled = [record for records in studies.values() for record in records]
    return [
        Explorer(explored(found, ("params", "macs"))),
        Figure(figures.pareto(studies, cost="params", limit=demo.LIMIT)),
        Figure(figures.pareto(studies, cost="macs")),
        Figure(figures.best_so_far(studies)),
        Figure(figures.hypervolume_so_far(studies)),
        Figure(figures.choices_of_elites(pooled)),
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def traces(page: Any, role: str) -> list[dict[str, Any]]:
    """What the traces of a role show, in all figures that are drawn."""
    code = """role => [...document.querySelectorAll('.plot.drawn')].flatMap(box => box.data)
      .filter(trace => trace.meta && trace.meta.role === role)
      .map(({x, y, customdata, text}) => JSON.stringify({x, y, customdata, text}))"""
    return [json.loads(text) for text in page.evaluate(code, role)]


def show_all(page: Any) -> None:
    """Have every figure drawn, as for printing."""
    page.evaluate("dispatchEvent(new Event('beforeprint'))")


def test_the_data_of_a_page_has_every_evaluated_trial() -> None:
    records = lineage(5)
    stopped = replace(records[3], state="stopped", score=math.nan, at_most=93.5)
    failed = replace(records[4], state="failed")
    found = explored([Study(EVIL, SETTINGS, [*records[:3], stopped, failed])], ("params", "x"))
    assert [row[:4] for row in found["trials"]] == [
        *([0, r.number, r.score, None] for r in records[:3]),
        [0, 3, None, 93.5],
    ]
    first = found["trials"][2]
    assert first[4] == [records[2].metrics["params"], None]
    assert first[6] == [0, 1]
    assert dict(zip(found["searches"][0]["genes"], first[9], strict=True)) == dict(records[2].arch)
    json.dumps(found, allow_nan=False)


def test_a_click_tells_of_a_trial_and_a_filter_holds_for_all_figures(
    browser: Any, tmp_path: Path
) -> None:
    """One test for both: a browser takes seconds to start."""
    studies = {EVIL: lineage(60)}
    records = studies[EVIL]
    page_file = write_report(tmp_path, sections(studies), title=EVIL)
    with opened(browser, page_file.as_uri()) as page:
        show_all(page)
        ranked = sorted(records, key=lambda record: -record.score)
        assert page.locator(".count").inner_text() == "60 of 60 subnets; the best of them:"
        assert page.locator("#explorer .link").first.inner_text() == str(ranked[0].number)

        # a click on a dot of the first figure
        page.evaluate(
            """number => {
              const box = document.querySelector('.plot');
              const index = box.data[0].customdata.findIndex(told => told[0] === number);
              box.emit('plotly_click',
                {points: [{data: box.data[0], customdata: box.data[0].customdata[index]}]});
            }""",
            40,
        )
        card = page.locator(".card")
        assert card.locator("h3").inner_text().startswith(f"{EVIL[:70]}"[:20])
        assert "trial 40" in card.locator("h3").inner_text()
        parents = card.locator(".lineage li").first.inner_text()
        assert parents.startswith("parents: 38 (")
        depth = records[40].arch["depth"]
        assert card.locator(".layers tbody tr").count() == depth
        # a second beside it: what differs is marked
        card.locator(".lineage .link").first.click()
        assert page.locator(".card").count() == 2
        assert page.locator(".card .differs").count() > 0
        rings = traces(page, "mark")
        assert len(rings) == 4
        assert len(rings[1]["x"]) == 2

        page.get_by_title("score at least").fill("95")
        page.get_by_title("parameters at most").fill("50k")
        page.keyboard.press("Tab")
        kept = [r for r in records if r.score >= 95 and r.metrics["params"] <= 50_000]
        assert 3 < len(kept) < 57
        assert page.locator(".count").inner_text().startswith(f"{len(kept)} of 60 subnets")
        for role in ("cloud", "cloud", "dots"):
            assert [told[0] for told in traces(page, role)[0]["customdata"]] == [
                record.number for record in kept
            ]
        points = [(r.metrics["params"], r.score) for r in kept]
        best = {points[index] for index in front(points, (False, True))}
        drawn = traces(page, "front")[0]
        assert set(zip(drawn["x"], drawn["y"], strict=True)) == best
        assert traces(page, "best")[0]["y"][-1] == max(r.score for r in kept)
        meta = figures.hypervolume_so_far(studies).data[0].meta
        volume = hypervolume(
            [(r.score, r.metrics["macs"]) for r in kept], (True, False), meta["reference"]
        )
        assert traces(page, "volume")[0]["y"][-1] == pytest.approx(100 * volume / meta["box"])
        elites = figures.elites(kept)
        share = sum(r.arch["depth"] == 4 for r in elites) / len(elites)
        shown = traces(page, "share")
        texts = {text for trace in shown for text in trace["text"]}
        assert f"4 · {round(100 * share)}%" in texts

        page.get_by_role("button", name="show all").click()
        assert len(traces(page, "cloud")[0]["x"]) == 60


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(browser: Any, scheme: str, width: int, tmp_path: Path) -> None:
    page_file = write_report(tmp_path, sections({"a": lineage(60), "b": demo.records(30, 1)}))
    size = {"width": width, "height": 900}
    with opened(browser, page_file.as_uri(), viewport=size, color_scheme=scheme) as page:
        show_all(page)
        for row in (0, 4):
            page.locator("#explorer .scroll .link").nth(row).click()
        assert page.locator(".card").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") == width
        colors = page.evaluate(
            "(({color, backgroundColor}) => [color, backgroundColor])"
            "(getComputedStyle(document.body))"
        )
        assert colors[0 if scheme == "dark" else 1].startswith("rgb(2")


@pytest.mark.slow
def test_volumes_of_three_objectives_are_exact(browser: Any, tmp_path: Path) -> None:
    rng = random.Random(0)
    points = [[rng.randint(0, 20) for _ in range(3)] for _ in range(30)]
    page_file = write_report(tmp_path, sections({"a": lineage(3)}))
    with opened(browser, page_file.as_uri()) as page:
        found = page.evaluate("points => Figures.volume(points, [18, 18, 18])", points)
    assert found == pytest.approx(hypervolume(points, (False,) * 3, (18, 18, 18)))


@pytest.mark.slow
def test_ten_thousand_trials_stay_usable(browser: Any, tmp_path: Path) -> None:
    """Bounds are far above what an idle machine takes, which docs/watching.md tells."""
    seed = demo.records(500)
    records = [
        replace(seed[i % 500], number=i, index=i, score=seed[i % 500].score + i / 1e5)
        for i in range(10_000)
    ]
    page_file = write_report(tmp_path, sections({"a": records}))
    assert page_file.stat().st_size < 12e6
    with opened(browser, page_file.as_uri()) as page:
        page.wait_for_selector(".card, .cards .caption", timeout=60_000)
        page.get_by_title("score at least").fill("95")
        page.keyboard.press("Tab")
        kept = sum(record.score >= 95 for record in records)
        assert page.locator(".count").inner_text().startswith(f"{kept:,} of 10,000 subnets")

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report import demo
from vitnas.errors import InputError
from vitnas.report import figures
from vitnas.report.page import (
    Details,
    Facts,
    Figure,
    Heading,
    Section,
    Table,
    Text,
    render,
    write_report,
)

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&lt;"


class Page(HTMLParser):
    """The tags of a page with their attributes, and the texts inside them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


def every_section(text: str) -> list[Section]:
    return [
        Heading(text),
        Text(text),
        Facts(((text, text),)),
        Table((text, text), ((text, text),), text),
        Details(text, text),
    ]


def test_all_text_stands_for_itself() -> None:
    page = Page(render(every_section(EVIL), title=EVIL))
    assert page.count("img") == page.count("script") == 0
    shown = "".join(data for _, data in page.texts)
    assert shown.count(EVIL) == 2 + 2 + 2 + 5 + 2


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1))
def test_no_text_makes_a_tag(text: str) -> None:
    harmless, hostile = Page(render(every_section("x"))), Page(render(every_section(text)))
    assert hostile.tags == harmless.tags


def test_a_figure_with_hostile_names_stays_inside_its_script() -> None:
    trials = demo.records(3)
    sections = [
        Figure(figures.pareto({EVIL: trials}, marked={EVIL: (1e4, 95.0)}, score=EVIL), EVIL),
        Figure(figures.compare_architectures({EVIL: demo.SPACE.largest})),
    ]
    page = Page(render(sections))
    assert page.count("script") == 4  # two figures, plotly, the page's own
    assert page.count("img") == 0
    data = [text for tag, text in page.texts if tag == "script" and text.startswith('{"data"')]
    assert len(data) == 2
    assert not any("<" in text for text in data)
    assert json.loads(data[0])["data"][0]["name"] == figures.pareto({EVIL: trials}).data[0].name


def test_the_page_needs_no_network() -> None:
    text = render([Figure(figures.best_so_far({"a": demo.records(3)}))])
    page = Page(text)
    assert not [tag for tag, attributes in page.tags if {"src", "href"} & attributes.keys()]
    assert page.count("link") == 0
    assert "@import" not in text.split("<body>")[0]
    assert "url(" not in text.split("<body>")[0]
    policy = dict(page.tags[3][1])["content"] or ""
    assert policy.startswith("default-src 'none'")


def test_the_plotting_library_is_there_once_or_not_at_all() -> None:
    figure = Figure(figures.best_so_far({"a": demo.records(3)}))
    assert len(re.findall(r"plotly\.js v\d", render([figure, figure]))) == 1
    assert len(render([Text("no figure")])) < 10_000


def test_figures_for_narrow_pages_are_of_their_own() -> None:
    archs = {"a": demo.SPACE.smallest, "b": demo.SPACE.largest}
    wide = figures.compare_architectures(archs)
    narrow = figures.compare_architectures(archs, columns=1)
    page = Page(render([Figure(wide, narrow=narrow)]))
    plots = [a for tag, a in page.tags if tag == "div" and "plot" in (a.get("class") or "")]
    assert [plot["class"] for plot in plots] == ["plot wide", "plot small"]
    ids = [a.get("id") for tag, a in page.tags if tag == "script" and a.get("id")]
    assert [plot["data-figure"] for plot in plots] == ids
    assert len(set(ids)) == 2


def test_the_report_replaces_an_older_one(tmp_path: Path) -> None:
    write_report(tmp_path, [Text("old")])
    path = write_report(tmp_path, [Text("new")], title="the title")
    assert path == tmp_path / "report.html"
    assert "<title>the title</title>" in path.read_text("utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    path = write_report(tmp_path, [Text("caf\udce9")])
    assert "caf?" in path.read_text("utf-8")


def test_a_failed_write_leaves_the_older_report(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write .*report\.html"):
        write_report(tmp_path / "file", [Text("new")])

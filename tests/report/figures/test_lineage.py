from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from report import demo
from vitnas.report.figures import elites, lineage
from vitnas.report.figures.lineage import MOST, ancestors
from vitnas.search.ledger import Record


def family(parents: Sequence[Sequence[int]]) -> list[Record]:
    records = demo.records(len(parents))
    return [replace(r, parents=tuple(p)) for r, p in zip(records, parents, strict=True)]


def lines(figure: Any) -> set[tuple[int, int]]:
    xs = list(figure.data[0].x)
    return set(zip(xs[::3], xs[1::3], strict=True))


def test_all_ancestors_are_drawn_and_nobody_else() -> None:
    records = family([[], [], [0], [0, 1], [2, 3], [1], [4, 99]])
    figure = lineage(records, [records[6]])
    assert list(ancestors(records, [records[6]])) == [6, 4, 2, 3, 0, 1]
    assert lines(figure) == {(4, 6), (2, 4), (3, 4), (0, 2), (0, 3), (1, 3)}
    assert sorted(figure.data[1].x) == [0, 1, 2, 3, 4, 6]
    assert figure.data[-1].name == "this one"


def test_by_default_those_of_the_best_three() -> None:
    records = family([[]] * 40)
    best = elites(records, 0.1)[:3]
    assert list(lineage(records).data[-1].x) == [record.number for record in best]


def test_a_stopped_parent_stands_at_its_bound() -> None:
    records = family([[], [0]])
    records[0] = replace(records[0], state="stopped", score=math.nan, at_most=91.0)
    assert lineage(records, [records[1]]).data[0].y[0] == 91.0


def test_a_long_line_is_cut_and_a_circle_ends() -> None:
    chain = family([[max(i - 1, 0)] for i in range(MOST + 50)])
    assert len(ancestors(chain, [chain[-1]])) == MOST
    assert min(ancestors(chain, [chain[-1]])) == 50


def test_nothing_to_draw_is_said() -> None:
    (said,) = lineage([]).layout.annotations
    assert said.text == "no completed trials yet"

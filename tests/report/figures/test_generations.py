from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from report import demo
from vitnas.errors import InputError
from vitnas.report.figures import choices_over_generations, elites


def test_columns_are_generations_of_all_trials_so_far() -> None:
    trials = [replace(record, generation=record.number // 20) for record in demo.records(60)]
    figure = choices_over_generations(trials, share=0.25)
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert set(titles) == {"depth", "embed_dim", "mlp_ratio", "num_heads"}
    first = [trace for trace in figure.data if trace.xaxis == figure.data[0].xaxis]
    assert list(first[0].x) == ["20", "40", "60"]
    assert [sum(parts) for parts in zip(*(trace.y for trace in first), strict=True)] == [
        pytest.approx(1)
    ] * 3
    name = titles[0]
    counted = Counter(record.arch[name] for record in elites(trials[:40], 0.25))
    wanted = [counted[value] / 10 for value in sorted({record.arch[name] for record in trials})]
    assert [trace.y[1] for trace in first] == pytest.approx(wanted)


def test_without_generations_columns_are_equal_parts() -> None:
    figure = choices_over_generations(demo.records(120))
    assert list(figure.data[0].x) == [str(10 * part) for part in range(1, 13)]
    assert list(choices_over_generations(demo.records(3)).data[0].x) == ["1", "2", "3"]


def test_nothing_to_draw_is_said() -> None:
    same = [demo.record(i, demo.SPACE.largest) for i in range(3)]
    for records in ([], same):
        (said,) = choices_over_generations(records).layout.annotations
        assert said.text == "no gene differs between completed trials yet"
    with pytest.raises(InputError, match="can't draw genes in 0 columns"):
        choices_over_generations(same, columns=0)

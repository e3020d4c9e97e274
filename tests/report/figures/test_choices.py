from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from report import demo
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.report.figures import choices_of_elites, elites


def test_elites_are_the_best_tenth() -> None:
    trials = demo.records(41)
    best = elites(trials)
    assert len(best) == 5
    assert min(t.score for t in best) >= max(t.score for t in trials if t not in best)
    failed = [replace(trial, state="failed") for trial in trials]
    assert elites(failed) == []
    assert len(elites(trials[:1])) == 1


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_wrong_share_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1"):
        elites(demo.records(3), share)


def test_shares_are_counted_per_gene_and_layer() -> None:
    trials = demo.records(60)
    figure = choices_of_elites(trials, share=0.5)
    names = list(figure.layout.yaxis.ticktext)
    assert names[:2] == ["depth", "embed_dim"]
    layered = [f"{gene} {i}" for gene in ("mlp_ratio", "num_heads") for i in (1, 2, 3, 4)]
    assert names[2:] == layered
    totals: Counter[int] = Counter()
    for trace in figure.data:
        for row, share in zip(trace.y, trace.x, strict=True):
            totals[row] += share
    assert all(total == pytest.approx(1) for total in totals.values())
    best = elites(trials, 0.5)
    deepest = figure.data[2]
    of_depth = dict(zip(deepest.y, deepest.x, strict=True))[0]
    assert of_depth == pytest.approx(sum(t.arch["depth"] == 4 for t in best) / len(best))
    third = names.index("num_heads 3")
    wide = dict(zip(deepest.y, deepest.x, strict=True))[third]
    having = [t.arch.num_heads for t in best if t.arch.depth >= 3]
    assert wide == pytest.approx(sum(heads[2] == 3 for heads in having) / len(having))


def test_archs_of_any_genes_are_counted() -> None:
    archs = [
        Arch("x", depth=(1, 2), op=(("conv",), ("attn", "conv")), width=8),
        Arch("x", depth=(1, 1), op=(("attn",), (3,)), width=16, extra="a"),
    ]
    trials = [replace(demo.records(1)[0], arch=arch) for arch in archs]
    figure = choices_of_elites(trials, share=1)
    assert list(figure.layout.yaxis.ticktext) == ["width", "depth 2", "op 1.1", "op 2.1"]


def test_layers_that_no_elite_has_are_left_out() -> None:
    trials = demo.records(60)
    shallow = [replace(trial, score=float(trial.arch.depth == 2)) for trial in trials]
    figure = choices_of_elites(shallow)
    assert {name.split()[-1] for name in figure.layout.yaxis.ticktext[2:]} == {"1", "2"}


def test_nothing_to_compare_is_said() -> None:
    figure = choices_of_elites(demo.records(1))
    (note,) = figure.layout.annotations
    assert note.text == "no gene differs between the completed trials"

"""NNI's flat descriptions of architectures."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import nni
from vitnas.interop.originals import read_arch

from .genes import Genes, genes
from .recorded_nni import SUPERNET, case
from .test_nni import searched


@given(genes())
def test_descriptions_round_trip(drawn: Genes) -> None:
    depth, ratios, heads, width = drawn
    theirs: dict[str, Any] = {"embed_dim": width, "depth": depth}
    for i in range(depth):
        theirs |= {f"mlp_ratio_{i}": ratios[i], f"num_head_{i}": heads[i]}
    arch = nni.arch(theirs)
    assert nni.foreign(arch) == theirs
    inactive = {f"mlp_ratio_{depth}": 3, f"num_head_{depth}": 1}
    assert nni.arch({**theirs, **inactive}) == arch
    assert nni.arch({"mutation_summary": theirs}) == arch
    floats = {name: float(value) for name, value in theirs.items()}
    assert nni.arch(floats) == arch  # as some writers of JSON have all numbers


FLAT = {"embed_dim": 48, "depth": 2, "mlp_ratio_0": 2, "num_head_0": 1, "mlp_ratio_1": 2.5,
        "num_head_1": 3}  # fmt: skip
TRIAL = {"parameter_id": 7, "parameters": {"mutation_summary": FLAT}}


@pytest.mark.parametrize(
    "record",
    [
        [FLAT],  # export_top_models(formatter="dict")
        TRIAL,
        {"parameters": FLAT},
        [{"parameter": TRIAL, "value": 0.8, "trialJobId": "x"}],  # nnictl experiment export
    ],
)
def test_lists_of_one_and_records_of_trials_are_opened(record: Any) -> None:
    assert nni.arch(record) == read_arch(record) == nni.arch(FLAT)
    assert nni.arch(json.dumps(record)) == nni.arch(FLAT)


@pytest.mark.parametrize("one", [FLAT, TRIAL])
def test_of_several_samples_one_has_to_be_named(one: dict[str, Any]) -> None:
    message = "NNI AutoFormer architecture: a list of 3 samples; give one of them alone"
    for read in (nni.arch, read_arch):
        with pytest.raises(InputError, match=message):
            read([one] * 3)


def test_inactive_layers_are_written_at_the_minimum_of_a_space() -> None:
    recorded = case(SUPERNET).metadata
    space = searched(recorded["config"])
    smallest = recorded["subnets"][1]["arch"]
    assert nni.foreign(nni.arch(smallest), space) == smallest
    with pytest.raises(InputError, match="the space allows 48, 64, 80"):
        nni.foreign(nni.arch({**smallest, "embed_dim": 49}), space)


def test_text_is_read_too() -> None:
    theirs = case(SUPERNET).metadata["subnets"][2]["arch"]
    assert nni.arch(str(theirs).replace("'", '"')) == nni.arch(theirs)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "NNI AutoFormer architecture: it must be a mapping, got []"),
        ("[1", "NNI AutoFormer architecture is not valid YAML: while parsing"),
        ({}, "NNI AutoFormer architecture: depth, embed_dim missing"),
        ({"mutation_summary": 3}, "it must be a mapping, got 3"),
        ({**FLAT, "depth": 3}, "mlp_ratio_2, num_head_2 missing"),
        ({**FLAT, "depth": "2"}, "depth is '2', not a whole number"),
        ({**FLAT, "depth": True}, "depth is True, not a whole number"),
        ({**FLAT, "depth": 1.5}, "depth is 1.5, not a whole number"),
        ({**FLAT, "depth": math.inf}, "depth is inf, not a whole number"),
        ({**FLAT, "depth": 1e9}, "depth is 1000000000.0, not from 1 to 1000"),
        ({"parameters": {"mutation_summary": []}}, "it must be a mapping, got []"),
        ({**FLAT, "num_heads_1": 3}, "unknown NNI AutoFormer gene 'num_heads_1'; did you mean"),
        ({**FLAT, "num_head_1": 0}, "num_heads is (1, 0), it must be positive"),
        ({**FLAT, "num_head_1": None}, "gene num_heads is None"),
    ],
)
def test_malformed_descriptions_are_refused(record: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        nni.arch(record)


def test_descriptions_of_what_nni_lacks_are_refused() -> None:
    with pytest.raises(InputError, match="the NNI AutoFormer has no vit architectures"):
        nni.foreign(Arch("vit", **nni.arch(FLAT)))
    with pytest.raises(InputError, match="has no gene head_dim, patch_size in its subnets"):
        nni.foreign(vitnas.space("autoformer-digits").smallest)

"""Wrong values of any argument in a config are refused in one line, before memory is asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vitnas.errors import InputError
from vitnas.interop.originals import original

from .recorded import WIDE, case
from .recorded_nni import MMRAZOR, SUPERNET
from .recorded_nni import case as nni_case
from .recorded_s3 import case as s3_case

VALUES: list[Any] = [
    *(None, True, False, "", "abc", "7", "false", [], {}, [1], [[1]], [None], ["a"], {"a": 1}),
    *(-1, 0, 1, 1.5, 7.0, math.nan, math.inf, 1e308, -1e308, 10**9, 10**18, 10**400),
]
FLAGS = (
    *("gp", "change_qkv", "relative_position", "abs_pos", "qkv_bias", "pre_norm"),
    *("rpe", "global_pooling", "absolute_position", "use_final_norm"),
)
SIZES = ("img_size", "patch_size", "in_chans", "in_channels", "num_classes", "num_labels")
LISTS = {
    "nni": ("search_embed_dim", "search_mlp_ratio", "search_num_heads", "search_depth"),
    "mmrazor": ("embed_dims", "mlp_ratios", "num_heads", "depth"),
}


def recorded(name: str) -> tuple[Any, dict[str, Any]]:
    """Return a recorded state, and the config that it was recorded with."""
    if name == "cream":
        return case(WIDE).weights, case(WIDE).config
    if name == "s3":
        found = s3_case("s3_a_mixed64")
        return found.weights | found.buffers, found.config
    told = nni_case({"mmrazor": MMRAZOR, "nni": SUPERNET}[name])
    if name == "nni":
        return told.weights(), told.metadata["config"]
    sizes = ("arch_setting", "img_size", "patch_size", "max_relative_position", "num_classes")
    own = {one: told.metadata[one] for one in sizes}
    return told.weights(), {**own, "in_channels": 3, "qkv_bias": True, "use_final_norm": True}


def with_argument(name: str, config: dict[str, Any], argument: str, value: Any) -> dict[str, Any]:
    """Return a config with another value of an argument, or of a list of MMRazor's."""
    if name == "mmrazor" and argument in LISTS[name]:
        return {**config, "arch_setting": {**config["arch_setting"], argument: value}}
    return {**config, argument: value}


def arguments(name: str) -> list[str]:
    own = sorted({*recorded(name)[1], *LISTS.get(name, ())})
    assert len(own) > 7
    return own


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, one) for name in ("cream", "nni", "mmrazor", "s3") for one in arguments(name)],
)
def test_any_value_is_read_or_refused_in_one_line(name: str, argument: str) -> None:
    state, config = recorded(name)
    module, read = original(name), []
    for value in VALUES:
        try:
            module.load(state, with_argument(name, config, argument, value))
        except InputError:
            continue
        read.append(value)
    if argument in FLAGS:
        assert all(type(value) is bool for value in read)
    elif argument in SIZES:
        assert not [value for value in read if type(value) is not int]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("cream", {"gp": "false"}, "gp is 'false', it must be true or false"),
        ("cream", {"depth": 10**12}, "depth is 1000000000000, it must be a whole number from 1 to"),
        ("cream", {"mlp_ratio": math.inf}, "mlp_ratio is inf, it must be a number above 0 and"),
        ("cream", {"scale": ""}, "scale='' is not supported"),
        ("cream", {"SUPERNET": {"DEPTH": 2}, "depth": 3}, "config: depth stand twice"),
        ("nni", {"img_size": None}, "img_size is None, it must be a whole number from 1 to 65,536"),
        ("nni", {"patch_size": 0, "num_labels": "7"}, "65,536; num_labels is '7', it must be a wh"),
        ("nni", {"global_pool": 1}, "global_pooling is 1, it must be true or false"),
        ("nni", {"qk_scale": ""}, "qk_scale is '', it must be null, or above 0 and up to 65,536"),
        ("nni", {"search_mlp_ratio": [1e308]}, "must be a list of positive numbers up to 65,536"),
        ("mmrazor", {"num_classes": 10**10}, "it must be a whole number from 0 to 16,777,216"),
        ("mmrazor", {"use_final_norm": 0}, "use_final_norm is 0, it must be true or false"),
        ("s3", {"img_size": [64, 64]}, "img_size is [64, 64], it must be a whole number from 1 to"),
        ("s3", {"IMG_SIZE": 128}, "an argument stands twice, in capitals and without"),
    ],
)
def test_what_was_given_and_what_is_allowed_is_said(
    name: str, given: dict[str, Any], message: str
) -> None:
    state, config = recorded(name)
    around = {} if {"SUPERNET", "global_pool"} & given.keys() else config
    with pytest.raises(InputError) as refused:
        original(name).load(state, {**around, **given})
    assert message in str(refused.value)


@pytest.mark.parametrize("name", ["cream", "mmrazor", "s3"])
def test_sizes_are_compared_before_memory_is_asked_for(name: str) -> None:
    """A head of 64 GB and more."""
    state, config = recorded(name)
    with pytest.raises(InputError, match=r"head\.(fc\.)?bias is \(\d+,\), expected \(16777216,\)"):
        original(name).load(state, {**config, "num_classes": 16_777_216})

"""Groups of tensors that are not there: refused, unless a config says the network never had them.

A network without final norm, say, has the names of a checkpoint that lost it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vitnas
from vitnas.errors import InputError
from vitnas.interop.convert import run
from vitnas.interop.originals import original

from .recorded import NAMES, WIDE, case
from .recorded_nni import MMRAZOR, SUBNETS, SUPERNET
from .recorded_nni import case as nni_case
from .recorded_s3 import case as s3_case

SOUND = {"cream": WIDE, "nni": "nni_subnet_default", "nni supernet": SUPERNET, "mmrazor": MMRAZOR}
SOUND |= {"s3": "s3_a_mixed64"}
TABLES, POSITIONS = r"\.rel_pos_embed_", r"pos_embed(\.pos_embed)?$"
BIASES = r"\.attn\.(q|k|v|qkv|w_.s)\.bias"
NORM, HEAD = r"(^|backbone\.)(norm|ln)\.", r"(^|\.)head\."
NEVER_HAD = {
    TABLES: "tables of relative positions",
    POSITIONS: "positions",
    BIASES: "biases of q, k and v",
    NORM: "a final norm",
    HEAD: "a head",
}
GROUPS: list[tuple[str, str, dict[str, Any]]] = [  # weights, names, what a config says of them
    ("cream", TABLES, {"relative_position": False}),
    ("cream", BIASES, {"qkv_bias": False}),
    ("cream", HEAD, {"num_classes": 0}),
    *(
        (name, names, config)
        for name in ("nni", "nni supernet")
        for names, config in (
            (TABLES, {"rpe": False}),
            (POSITIONS, {"absolute_position": False}),
            (BIASES, {"qkv_bias": False}),
            (NORM, {"pre_norm": False}),
            (HEAD, {"num_labels": 0}),
        )
    ),
    ("mmrazor", BIASES, {"qkv_bias": False}),
    ("mmrazor", NORM, {"use_final_norm": False}),
    ("mmrazor", HEAD, {"num_classes": 0}),
    ("s3", BIASES, {"qkv_bias": False}),
    ("s3", HEAD, {"num_classes": 0}),
]
REFUSED = [
    ("cream", NORM, "missing: norm.bias, norm.weight; if it never had a final norm"),
    ("cream", POSITIONS, "no pos_embed to read the image size from; give a config with img_size"),
    ("mmrazor", TABLES, "missing: architecture.backbone.blocks.0.attn.rel_pos_embed_k"),
    ("mmrazor", r"\.pos_embed", "weights: architecture.backbone.pos_embed missing"),
    *(
        (name, r"blocks\.1\.", f"blocks.1.* ({count} tensors); unexpected: {prefix}blocks.2.*")
        for name, prefix, count in (
            ("cream", "", 16),
            ("nni", "", 20),
            ("nni supernet", "blocks.", 20),
            ("mmrazor", "architecture.backbone.", 20),
        )
    ),
]


def weights(name: str, without: str = "^$") -> dict[str, Tensor]:
    """Return a recorded state without the names that match."""
    whole: Mapping[str, Tensor]
    if name == "s3":
        whole = s3_case(SOUND[name]).weights | s3_case(SOUND[name]).buffers
    else:
        recorded = SOUND[name]
        whole = case(recorded).weights if name == "cream" else nni_case(recorded).weights()
    return {key: tensor for key, tensor in whole.items() if not re.search(without, key)}


def convert(path: Path, state: Any, config: dict[str, Any] | None = None) -> str:
    """Convert a state as the command line does, and return what it says of the sizes."""
    torch.save(state, path / "net.pth")
    return run(path / "net.pth", path / "net", None, None, None, None, config, False).sizes


@pytest.mark.parametrize(("name", "names", "config"), GROUPS)
def test_a_group_that_is_missing_is_refused_unless_a_config_says_so(
    name: str, names: str, config: dict[str, Any], tmp_path: Path
) -> None:
    part, module = weights(name, names), original(name.partition(" ")[0])
    lost = sorted(weights(name).keys() - part.keys())
    ((option, value),) = config.items()
    advice = f"; if it never had {NEVER_HAD[names]}, its config (--config) must say {option}: "
    advice += str(value).lower()
    with pytest.raises(InputError) as refused:
        convert(tmp_path, part)
    told = str(refused.value)
    assert told.endswith(advice)
    assert told.count("if it never had") == 1
    more = f" and {len(lost) - 20} more" if len(lost) > 20 else ""
    assert f"of this config; missing: {', '.join(lost[:20])}{more}; " in told
    assert not (tmp_path / "net").exists()
    said_wrongly = {option: True if value is False else 10}
    for given in ({}, said_wrongly):
        with pytest.raises(InputError, match="missing: "):
            module.load(part, given)
    convert(tmp_path, part, config)
    kept = vitnas.load(tmp_path / "net").state_dict()
    assert len(kept) < len(module.load(weights(name), {}).state_dict())


def test_of_several_groups_each_is_told(tmp_path: Path) -> None:
    part = weights("nni", f"{NORM}|{HEAD}|blocks.0.fc1.bias")
    with pytest.raises(InputError) as refused:
        convert(tmp_path, part)
    assert str(refused.value) == (
        "not the official NNI AutoFormer of this config; missing: blocks.0.fc1.bias, head.bias, "
        "head.weight, norm.bias, norm.weight; if it never had a final norm, its config (--config) "
        "must say pre_norm: false; if it never had a head, its config (--config) must say "
        "num_labels: 0"
    )


@pytest.mark.parametrize(("name", "names", "message"), REFUSED)
def test_other_groups_are_refused_by_name(
    name: str, names: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        convert(tmp_path, weights(name, names))


def test_what_a_config_says_is_off_must_be_off(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unexpected: head\.bias, head\.weight"):
        convert(tmp_path, weights("nni"), {"num_labels": 0})


def test_positions_that_never_were_need_an_image_size(tmp_path: Path) -> None:
    part = weights("cream", POSITIONS)
    size = {"img_size": case(WIDE).config["img_size"]}
    with pytest.raises(InputError, match=r"missing: pos_embed; if .* must say abs_pos: false"):
        convert(tmp_path, part, size)
    with pytest.raises(InputError, match="no pos_embed to read the image size from"):
        convert(tmp_path, part, {"abs_pos": False})
    convert(tmp_path, part, {**size, "abs_pos": False})


@pytest.mark.parametrize("name", [*NAMES, *SUBNETS])
def test_a_config_that_says_everything_is_enough(name: str, tmp_path: Path) -> None:
    if name in NAMES:
        convert(tmp_path, case(name).weights, case(name).config)
    else:
        convert(tmp_path, nni_case(name).weights(), nni_case(name).metadata["config"])


def test_the_arguments_of_a_training_say_what_is_off(tmp_path: Path) -> None:
    recorded = case("autoformer_cls_rel_cqkv_noabs_clip2")
    args = {"gp": False, "input_size": 40, "no_abs_pos": True, "relative_position": True}
    content = {"model": recorded.weights, "args": argparse.Namespace(**args)}
    for number, config in enumerate((None, {"depth": 3})):
        (tmp_path / str(number)).mkdir()
        convert(tmp_path / str(number), content, config)
        net = vitnas.load(tmp_path / str(number) / "net")
        assert isinstance(net, vitnas.Supernet)
        assert (net.config.pool, net.config.abs_pos) == ("token", False)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("cream", "embed_dim 128, num_classes 10"),
        ("nni", "embed_dim 64, num_classes 7"),
        ("nni supernet", "embed_dim 80, num_classes 7"),
        ("mmrazor", "embed_dim 80, num_classes 7"),
    ],
)
def test_the_sizes_that_were_read_are_told(name: str, sizes: str, tmp_path: Path) -> None:
    for depth, without in ((3, "^$"), (2, r"blocks\.2\.")):
        (tmp_path / str(depth)).mkdir()
        told = convert(tmp_path / str(depth), weights(name, without))
        assert told == f"depth {depth}, {sizes}"

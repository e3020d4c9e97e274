"""Groups of tensors that are not there: another network, which is said, or a refusal.

A network without final norm, say, has the names of a checkpoint that lost it.
"""

from __future__ import annotations

import argparse
import logging
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

SOUND = {"cream": WIDE, "nni": "nni_subnet_default", "nni supernet": SUPERNET, "mmrazor": MMRAZOR}
TABLES, POSITIONS = r"\.rel_pos_embed_", r"pos_embed\.pos_embed"
BIASES, NORM, HEAD = (
    r"\.attn\.(q|k|v|qkv|w_.s)\.bias",
    r"(^|backbone\.)(norm|ln)\.",
    r"(^|\.)head\.",
)
WITHOUT: list[tuple[str, str, str, dict[str, Any]]] = [  # weights, names, what is said, the config
    ("cream", TABLES, "rel_pos tables", {"relative_position": False}),
    ("cream", BIASES, "biases of q, k and v", {"qkv_bias": False}),
    *(
        (name, names, what, config)
        for name in ("nni", "nni supernet")
        for names, what, config in (
            (TABLES, "rel_pos tables", {"rpe": False}),
            (POSITIONS, "pos_embed", {"absolute_position": False}),
            (BIASES, "biases of q, k and v", {"qkv_bias": False}),
            (NORM, "final norm", {"pre_norm": False}),
            (HEAD, "head", {"num_labels": 0}),
            (f"{NORM}|{HEAD}", "final norm, no head", {"pre_norm": False, "num_labels": 0}),
        )
    ),
    ("mmrazor", BIASES, "biases of q, k and v", {"qkv_bias": False}),
    ("mmrazor", NORM, "final norm", {"use_final_norm": False}),
    ("mmrazor", HEAD, "head", {"num_classes": 0}),
]
REFUSED = [
    ("cream", NORM, "missing: norm.bias, norm.weight"),
    ("cream", HEAD, "the weights have no head to read the classes from; give a config"),
    ("cream", "^pos_embed", "no pos_embed to read the image size from; give a config"),
    ("mmrazor", TABLES, "missing: architecture.backbone.blocks.0.attn.rel_pos_embed_k"),
    ("mmrazor", r"\.pos_embed", "weights: architecture.backbone.pos_embed missing"),
    ("cream", r"blocks\.1\.", "missing: blocks.1.attn.proj.bias, "),
    *((name, r"blocks\.1\.", "blocks.1.fc2.weight missing") for name in SOUND if name != "cream"),
]


def weights(name: str, without: str = "^$") -> dict[str, Tensor]:
    """Return a recorded state without the names that match."""
    whole: Mapping[str, Tensor] = (
        case(SOUND[name]).weights if name == "cream" else nni_case(SOUND[name]).weights()
    )
    return {key: tensor for key, tensor in whole.items() if not re.search(without, key)}


def convert(path: Path, state: Any, config: dict[str, Any] | None = None) -> str:
    """Convert a state as the command line does, and return what it says of the sizes."""
    torch.save(state, path / "net.pth")
    return run(path / "net.pth", path / "net", None, None, None, None, config, False).sizes


@pytest.mark.parametrize(("name", "names", "what", "config"), WITHOUT)
def test_what_is_off_for_lack_of_names_is_said_once(
    name: str,
    names: str,
    what: str,
    config: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    part, module = weights(name, names), original(name.partition(" ")[0])
    assert len(part) < len(weights(name))
    convert(tmp_path, part)
    read = ", ".join(f"{k} {str(v).lower()}" for k, v in config.items())
    told = [
        f"no {what}: read as a network with {read}; if that is wrong, the checkpoint is not whole; "
        "else a config that says so ends this warning"
    ]
    assert caplog.messages == told
    module.load(part, {})
    assert caplog.messages == told * 2
    module.load(part, config)
    assert len(caplog.messages) == 2
    assert {r.levelno for r in caplog.records} == {logging.WARNING}


@pytest.mark.parametrize(("name", "names", "message"), REFUSED)
def test_other_groups_are_refused_by_name(
    name: str, names: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        convert(tmp_path, weights(name, names))


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_network_gives_no_warning(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    convert(tmp_path, weights(name))
    assert not caplog.messages


@pytest.mark.parametrize("name", [*NAMES, *SUBNETS])
def test_a_config_that_says_everything_gives_no_warning(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if name in NAMES:
        convert(tmp_path, case(name).weights, case(name).config)
    else:
        convert(tmp_path, nni_case(name).weights(), nni_case(name).metadata["config"])
    assert not caplog.messages


def test_the_arguments_of_a_training_say_what_is_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = case("autoformer_cls_rel_cqkv_noabs_clip2")
    args = {"gp": False, "input_size": 40, "no_abs_pos": True, "relative_position": True}
    content = {"model": recorded.weights, "args": argparse.Namespace(**args)}
    for number, config in enumerate((None, {"depth": 3})):
        (tmp_path / str(number)).mkdir()
        convert(tmp_path / str(number), content, config)
        net = vitnas.load(tmp_path / str(number) / "net")
        assert isinstance(net, vitnas.Supernet)
        assert (net.config.pool, net.config.abs_pos) == ("token", False)
    assert not caplog.messages


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

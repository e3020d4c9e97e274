"""Spaces in YAML: what they mean, and every refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.models import FAMILIES
from vitnas.spaces import as_mapping, read

NAMES = ", ".join(FAMILIES)
YAML = """
family: autoformer
depth: [2, 3]
embed_dim: [32, 48]
num_heads: [[1], [1, 2], [2, 3]]
mlp_ratio: [2.5, 3]
head_dim: 16
patch_size: 4
"""


def test_a_yaml_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(YAML)
    space = vitnas.space(path)
    assert space.name == "mine"
    assert space.size() == 2 * (2**2 * 2 + 2**3 * 4)
    assert space.largest == Arch(
        "autoformer",
        depth=3,
        embed_dim=48,
        num_heads=(1, 2, 3),
        mlp_ratio=(3, 3, 3),
        head_dim=16,
        patch_size=4,
    )
    assert vitnas.space(str(path)) == space
    path.write_text(YAML + "name: ours\n")
    assert vitnas.space(path).name == "ours"


def test_a_yaml_space_may_be_a_preset_written_out(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yml"
    path.write_text(
        "family: autoformer\ndepth: [12, 13, 14]\nmlp_ratio: [3.5, 4]\n"
        "num_heads: [3, 4]\nembed_dim: [192, 216, 240]\n"
    )
    assert vitnas.space(path) == vitnas.space("autoformer-tiny")
    assert vitnas.space(path).sample(3) == vitnas.space("autoformer-tiny").sample(3)


def _yaml(**changes: Any) -> dict[str, Any]:
    plain = {
        "family": "vit",
        "depth": [2, 3],
        "embed_dim": [32, 48],
        "num_heads": [1, 2],
        "mlp_ratio": [2, 3],
    }
    return {key: value for key, value in {**plain, **changes}.items() if value != "absent"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, f"needs `family` ({NAMES}) and a list of values for each gene"),
        (["vit"], f"needs `family` ({NAMES}) and a list of values for each gene"),
        (_yaml(family="absent"), f"needs `family` ({NAMES})"),
        (_yaml(family="vitt"), "unknown model family 'vitt'; did you mean 'vit'?"),
        (_yaml(family=None), "unknown model family 'None'"),
        (_yaml(width=[1]), "unknown gene of vit 'width'"),
        (_yaml(num_head=[1]), "unknown gene of vit 'num_head'; did you mean 'num_heads'?"),
        (_yaml() | cast("dict[str, Any]", {1: 2}), "unknown gene of vit 1"),
        (_yaml(depth="absent", embed_dim="absent"), "depth, embed_dim missing"),
        (_yaml(depth=[]), "choice depth needs at least one value, got ()"),
        (_yaml(depth=[2, 2]), "choice depth repeats a value: (2, 2)"),
        (_yaml(depth=[0]), "depth is (0,); it must be whole numbers from 1"),
        (_yaml(embed_dim=None), "choice embed_dim is (None,); values are finite numbers or"),
        (_yaml(embed_dim={"a": 1}), "choice embed_dim is ({'a': 1},); values are finite numbers"),
        (_yaml(embed_dim=[True]), "choice embed_dim is (True,); values are finite numbers"),
        (_yaml(embed_dim=[32, "48"]), "choice embed_dim mixes numbers and strings"),
        (_yaml(embed_dim=["32"]), "embed_dim is '32', it must be positive"),
        (_yaml(embed_dim=[32, 40.5, 48]), "embed_dim is 40.5, it must be whole"),
        (_yaml(num_heads=[-1]), "num_heads is (-1, -1, -1), it must be positive"),
        (_yaml(mlp_ratio=[float("nan")]), "values are finite numbers or strings"),
        (_yaml(num_heads=[[1], [2]]), "choice num_heads has 2 lists, the space needs 3"),
        (_yaml(num_heads=[[1], 2, [3]]), "choice num_heads needs at least one value, got 2"),
        (_yaml(num_heads=[[[1]], [2], [3]]), "choice num_heads is ((1,),); values are finite"),
        (_yaml(embed_dim=[[32], [48], [64]]), "choice embed_dim holds for the whole net"),
    ],
)
def test_malformed_spaces_are_refused_with_their_source(record: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(record, source="mine.yaml")
    assert str(caught.value).startswith("mine.yaml: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"depth: [1", "is not valid YAML: while parsing"),
        (b"a: b: c", "is not valid YAML: mapping values are not allowed"),
        (b"!!python/object/apply:os.system ['true']", "is not valid YAML: could not determine"),
        (b"[" * 5000, "is not valid YAML"),
        (b"\xff\xfe\x00", "can't read search space"),
        (b"", "needs `family`"),
    ],
)
def test_files_that_are_no_space_give_one_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        vitnas.space(path)
    assert str(path) in str(caught.value)


def test_values_that_give_the_same_network_are_refused() -> None:
    record = {"family": "vit", "depth": 2, "embed_dim": 24, "num_heads": 1}
    with pytest.raises(InputError, match=r"same network.*mlp_ratio \(1, 1\) and \(1.01, 1.01\)"):
        read({**record, "mlp_ratio": [1.0, 1.01]})
    assert read({**record, "mlp_ratio": [1.0, 1.05]}).size() == 4


def test_what_holds_for_the_whole_space_has_one_value() -> None:
    record = {"family": "vit", "depth": 2, "embed_dim": 24, "num_heads": 1, "mlp_ratio": 1}
    with pytest.raises(InputError, match="head_dim holds for the whole space: give one value"):
        read({**record, "head_dim": [8, 16]})


STAGED: dict[str, Any] = {
    "family": "s3",
    "depth": [[1, 2], [2, 3]],
    "embed_dim": [[32, 48], [64, 96]],
    "num_heads": [[1, 2], [2, 3]],
    "window_size": [4, 7],
    "mlp_ratio": 4,
}


def test_a_yaml_space_of_stages() -> None:
    space = read(STAGED)
    assert space.stages == 2
    assert space.size() == 4 * (4 + 4**2) * (4**2 + 4**3)
    assert space.largest.window_size == ((7, 7), (7, 7, 7))
    flat = {**STAGED, "depth": [1, 2], "embed_dim": [32, 48], "num_heads": 1, "stages": 3}
    assert read(flat).stages == 3
    assert read(flat).smallest.depth == (1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 1, "embed_dim": 8, "num_heads": 1}, "give `stages`, how many there are"),
        ({"stages": 3}, "choice depth has 2 lists, the space needs 3"),
        ({"stages": 0}, "give `stages`, how many there are"),
        ({"stages": "2"}, "stages is '2'; it must be a whole number from 1"),
        ({"num_heads": [[1], [2], [3]]}, "choice num_heads has 3 lists, the space needs 2"),
        ({"mlp_ratio": [4, 4.01]}, "these are the same network, keep one of them: mlp_ratio"),
        ({"window_size": [0, 7]}, "window_size is ((0, 0), (0, 0, 0)), it must be positive"),
        ({"qkv_dim": [32]}, "unknown gene of s3 'qkv_dim'"),
        ({"head_dim": [16, 32]}, "head_dim holds for the whole space: give one value"),
    ],
)
def test_malformed_spaces_of_stages(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read({**STAGED, **changes})


def test_a_family_without_stages_has_no_gene_stages() -> None:
    with pytest.raises(InputError, match="unknown gene of vit 'stages'"):
        read(_yaml(stages=2))


@pytest.mark.parametrize(
    "name", ["s3-digits", "s3-start", "autoformer-digits", "autoformer-tiny", "vitas-digits"]
)
def test_a_space_survives_yaml(name: str) -> None:
    given = vitnas.space(name)
    found = read(yaml.safe_load(yaml.safe_dump(as_mapping(given))))
    assert (found.name, found.family, found.stages) == (name, given.family, given.stages)
    assert set(found.choices) == set(given.choices)
    assert read(as_mapping(found)) == found


def test_layers_can_be_tied_by_argument_and_in_yaml(tmp_path: Path) -> None:
    tied = vitnas.space("autoformer-digits", tied=True)
    assert tied.size() == 3 * 3 * 9
    assert tied.name == "autoformer-digits-tied"
    assert vitnas.space("s3-digits", tied=True).size() == (2 * 8) ** 2 * 6
    path = tmp_path / "cells.yaml"
    path.write_text(f"{YAML}tied: [mlp_ratio]\n")
    cells = vitnas.space(path)
    assert cells.size() == 2 * 2 * (2 + 2 * 2)
    assert [choice.name for choice in cells.choices if choice.tied] == ["mlp_ratio"]
    assert read(as_mapping(cells)) == cells
    assert set(read(as_mapping(tied)).choices) == set(tied.choices)
    record = yaml.safe_load(YAML)
    with pytest.raises(InputError, match="num_heads can't be tied: its layers have no value"):
        vitnas.space(path, tied=True)
    free = {**record, "num_heads": [1, 2]}
    assert read({**free, "tied": True}).size() == 2 * 2 * 2 * 2
    assert read({**free, "tied": False}) == read(free)
    with pytest.raises(InputError, match="tied is 'yes'; it is true, false or a list of genes"):
        read({**free, "tied": "yes"})
    with pytest.raises(InputError, match="unknown gene of the layers 'depth'"):
        read({**free, "tied": ["depth"]})


VITAS = {
    "family": "vitas",
    "depth": [1, 3],
    "slot": [0, 1, 2],
    "num_heads": [1, 2],
    "attn_dim": [4, 8],
    "mlp_dim": [6],
    "embed_dim": [8, 12],
    "patch_size": [4, 8],
}


def test_a_yaml_space_of_free_slots() -> None:
    space = read(VITAS)
    assert space.size() == 4 * (3 * 4 + 4**3)
    assert space["slot"].increasing
    assert as_mapping(space) == VITAS
    assert read(as_mapping(space)) == space
    assert type(space).from_dict(space.to_dict()) == space
    with pytest.raises(InputError, match="slot increases from layer to layer: it needs at least 3"):
        read({**VITAS, "slot": [0, 1]})
    with pytest.raises(InputError, match=r"it needs level block, one list of increasing numbers"):
        read({**VITAS, "slot": [2, 1, 0]})
    with pytest.raises(InputError, match="2 heads don't divide attn_dim 5"):
        read({**VITAS, "attn_dim": [4, 5]})


def test_a_space_may_have_more_slots_than_blocks() -> None:
    """Blocks of the same sizes in other slots have other weights in the supernet."""
    space = read({**VITAS, "depth": [1, 2], "slot": [0, 1, 2, 3, 4]})
    assert space.size() == 4 * (5 * 4 + 10 * 4**2)
    assert space.stored.depth == 5

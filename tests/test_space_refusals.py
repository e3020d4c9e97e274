"""What a space refuses: architectures outside it, and choices that make no space."""

from __future__ import annotations

import re
from typing import Any

import pytest

from toy_spaces import DEPTH, SPACE, STAGED
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.space import Choice, Space


def test_validate_lists_every_offending_gene() -> None:
    wrong = Arch(
        "autoformer", depth=2, mlp_ratio=(3.5, 9), num_heads=(3, 4, 5), embed_dim=200, width=1
    )
    with pytest.raises(InputError) as caught:
        SPACE.validate(wrong)
    assert str(caught.value) == (
        "not in the space toy: width is no gene of the space; "
        "mlp_ratio[1] is 9, the space allows 3.5, 4.0; "
        "num_heads is (3, 4, 5), it needs 2 values; "
        "embed_dim is 200, the space allows 192, 216"
    )
    assert wrong not in SPACE


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"depth": 4}, ["depth is 4, the space allows 2, 3", "num_heads is (4, 4, 5), it needs 4"]),
        ({"depth": 10**12}, [f"depth is {10**12}, the space allows 2, 3"]),
        ({"depth": 2.5, "embed_dim": 1}, ["depth is 2.5", "embed_dim is 1, the space"]),
        ({"depth": "3"}, ["depth is '3', the space allows 2, 3"]),
        ({"depth": (3,)}, ["depth is (3,), it needs one value"]),
        ({"embed_dim": (216,)}, ["embed_dim is (216,), it needs one value"]),
        ({"num_heads": 4}, ["num_heads is 4, it needs 3 values"]),
        ({"num_heads": (4, "4", 5)}, ["num_heads[1] is '4', the space allows 4"]),
        ({"num_heads": ((4, 4), 4, 5)}, ["num_heads[0] is (4, 4), the space allows 3, 4"]),
    ],
)
def test_malformed_genes_are_named(changes: dict[str, Any], messages: list[str]) -> None:
    arch = SPACE.largest.replace(**changes)
    assert arch not in SPACE
    with pytest.raises(InputError) as caught:
        SPACE.validate(arch)
    for message in messages:
        assert message in str(caught.value)


def test_missing_genes_are_named_beside_the_others() -> None:
    with pytest.raises(InputError) as caught:
        SPACE.validate(Arch("autoformer", embed_dim=1, num_heads=(3, 4)))
    assert str(caught.value) == (
        "not in the space toy: depth is missing; mlp_ratio is missing; "
        "embed_dim is 1, the space allows 192, 216"
    )


def test_another_family_and_other_types_are_outside() -> None:
    with pytest.raises(InputError, match="family is vit, the space is of family autoformer"):
        SPACE.validate(Arch("vit", **SPACE.largest))
    assert "autoformer" not in SPACE
    assert None not in SPACE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 3}, "depth is 3, it needs 2 values"),
        ({"depth": (2, 2, 2)}, "depth is (2, 2, 2), it needs 2 values"),
        ({"embed_dim": (64, 64)}, "embed_dim[1] is 64, the space allows 96"),
        ({"num_heads": ((2,), (4, 4))}, "it needs one list a stage, of 2, 2 values"),
        ({"num_heads": ((2, 2), (4, 1))}, "num_heads[1][1] is 1, the space allows 3, 4"),
    ],
)
def test_staged_genes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        STAGED.validate(STAGED.largest.replace(**changes))


def test_equal_numbers_of_another_type_are_inside() -> None:
    assert Arch("autoformer", **{**SPACE.largest, "depth": 3.0, "mlp_ratio": (4, 4, 4)}) in SPACE


def test_values_given_as_lists_are_kept_as_tuples() -> None:
    lists: Any = [[3, 4], [4]]
    assert Choice("num_heads", lists, "block").values == ((3, 4), (4,))


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        ((), "net", "choice g needs at least one value, got ()"),
        (5, "net", "choice g needs a list of values, got 5"),
        (((1,), ()), "block", "choice g needs at least one value, got ()"),
        (((1,), 2), "block", "choice g needs at least one value, got 2"),
        ((1, None), "net", "values are finite numbers or strings"),
        ((True,), "net", "values are finite numbers or strings"),
        ((float("nan"),), "net", "values are finite numbers or strings"),
        ((1, "a"), "net", "choice g mixes numbers and strings"),
        ((1, 1.0), "net", "choice g repeats a value"),
        ((1,), "layer", "choice g has level 'layer': net, stage or block"),
        (((1,), (2,)), "net", "choice g holds for the whole net: give one list of values"),
    ],
)
def test_refused_choices(values: Any, level: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Choice("g", values, level)


def test_only_genes_of_the_layers_are_tied() -> None:
    with pytest.raises(InputError, match="choice g has level net; only blocks can be tied"):
        Choice("g", (1, 2), tied=True)


@pytest.mark.parametrize(
    ("values", "level", "tied"),
    [
        ((1, 2), "net", False),
        ((1, 2), "block", True),
        ((2, 1), "block", False),
        (("a", "b"), "block", False),
        (((1,), (2,)), "block", False),
    ],
)
def test_only_rising_numbers_of_the_layers_increase(values: Any, level: Any, tied: bool) -> None:
    message = "choice g increases from layer to layer: it needs level block, one list of increasing"
    with pytest.raises(InputError, match=message):
        Choice("g", values, level, tied, increasing=True)


@pytest.mark.parametrize(
    ("choices", "stages", "message"),
    [
        ((), None, "a space needs the choice depth"),
        ((DEPTH, DEPTH), None, "a space names each gene once, got depth, depth"),
        ((Choice("depth", (0, 1)),), None, "depth is (0, 1); it must be whole numbers from 1"),
        ((Choice("depth", (1.5,)),), None, "it must be whole numbers from 1"),
        ((Choice("depth", (1,), "block"),), None, "depth has level stage in a space with stages"),
        ((DEPTH,), 2, "depth has level stage in a space with stages, else net"),
        ((DEPTH,), 0, "stages is 0; it must be a whole number from 1"),
        ((DEPTH,), True, "stages is True; it must be a whole number from 1"),
        ((DEPTH, Choice("g", (1,), "stage")), None, "the space has no stages"),
        ((DEPTH, Choice("g", ((1,),), "block")), None, "choice g has 1 lists, the space needs 2"),
        (
            (DEPTH, Choice("g", ((1,), (2,)), "block", True)),
            None,
            "choice g is tied: give one list for all layers",
        ),
        (
            (DEPTH, Choice("g", (3,), "block", increasing=True)),
            None,
            "it needs at least 2 values, no stages, and choices with one list",
        ),
        (
            (
                DEPTH,
                Choice("g", (3, 4), "block", increasing=True),
                Choice("h", ((1,), (2,)), "block"),
            ),
            None,
            "it needs at least 2 values, no stages, and choices with one list for all layers",
        ),
        (
            (Choice("depth", (1,), "stage"), Choice("g", (3,), "block", increasing=True)),
            1,
            "it needs at least 1 values, no stages, and choices with one list",
        ),
    ],
)
def test_refused_spaces(choices: Any, stages: int | None, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Space("toy", choices, stages)

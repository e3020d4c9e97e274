"""Parameters and multiply-adds as remembered sums, against sums that remember nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitnas import cost
from vitnas.arch import Arch
from vitnas.axes import parse
from vitnas.errors import InputError
from vitnas.models import Kind, family
from vitnas.space import Choice, Space


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Draw a space, often with lists of its own for each layer and with genes that are options."""
    depths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=2, unique=True))
    layers = max(depths)

    def choice(name: str, values: st.SearchStrategy[Any]) -> Choice:
        row = st.lists(values, min_size=1, max_size=3, unique=True).map(tuple)
        return Choice(name, draw(row | st.tuples(*[row] * layers)), "block")

    fixed = draw(st.dictionaries(st.sampled_from(("patch_size", "head_dim")), st.just(8)))
    return Space(
        draw(st.sampled_from(("autoformer", "vit"))),
        (
            Choice("depth", tuple(depths)),
            choice("mlp_ratio", st.sampled_from((0.5, 1, 1.7, 3.5, 4.0))),
            choice("num_heads", st.integers(1, 4)),
            Choice("embed_dim", draw(st.sampled_from(((16,), (24, 40))))),
            *(Choice(name, (value,)) for name, value in fixed.items()),
        ),
    )


options = st.fixed_dictionaries(
    {},
    optional={
        "num_classes": st.integers(0, 40),
        "img_size": st.sampled_from((32, (16, 48))),
        "in_chans": st.integers(1, 4),
        "drop_path_rate": st.sampled_from((0, 0.0, 0.1)),
        "drop_path_depth": st.none() | st.integers(1, 5),
        "abs_pos": st.booleans(),
        "pre_norm": st.booleans(),
        "post_norm": st.booleans(),
        "final_norm": st.booleans(),
        "fc_norm": st.booleans(),
        "qkv_bias": st.booleans(),
        "init_values": st.none() | st.just(0.1),
    },
)


def plain(arch: Arch, given: dict[str, Any]) -> dict[str, int]:
    """Return the counts, layer by layer, without `make_config`, `units` or any memory of either."""
    model = family(arch.family)
    genes: dict[str, Any] = dict(arch)
    size = given.get("img_size", 224)
    config: Any = model.config(
        **{name: genes[name] for name in ("patch_size", "head_dim") if name in genes},
        **{**given, "img_size": size if isinstance(size, tuple) else (size, size)},
    )
    embed = genes["embed_dim"]
    root = {"embed": embed, "classes": config.num_classes, "chans": config.in_chans}
    root |= {"patch": config.patch_size, "patch_width": config.patch_size}
    root["positions"] = config.tokens
    layers = zip(genes["num_heads"], genes["mlp_ratio"], strict=True)
    units = [("root", root)]
    units += [("block", config.block_sizes(embed, *layer)) for layer in layers]
    found = dict.fromkeys(("params", "explicit", "factorised"), 0)
    for role, sizes in units:
        kind = Kind(role, tuple(sizes.items()))
        layouts = model.layouts(config, role, False)
        found["params"] += sum(parse(text).numel(sizes) for text in layouts.values())
        found["explicit"] += model.macs(config, kind, "explicit")
        found["factorised"] += model.macs(config, kind, "factorised")
    return found


@given(spaces(), options, st.lists(st.integers(0, 99), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_remembered_counts_equal_plain_ones(
    space: Space, given: dict[str, Any], seeds: list[int]
) -> None:
    for seed in seeds:
        arch = space.sample(seed)
        wanted = plain(arch, given)
        assert cost.params(arch, **given) == wanted["params"]
        for attention in ("explicit", "factorised"):
            assert cost.macs(arch, attention=attention, **given) == wanted[attention]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_classes": True}, "num_classes is True; it must be a whole number"),
        ({"num_classes": 1.0}, "num_classes is 1.0; it must be a whole number"),
        ({"img_size": (16.0, 16)}, r"img_size is \(16.0, 16\); it is one whole number"),
        ({"img_size": (True, 16)}, r"img_size is \(True, 16\); it is one whole number"),
        ({"abs_pos": 1}, "abs_pos is 1; it must be true or false"),
        ({"pool": ["avg"]}, r"pool is \['avg'\]; it is 'token' or 'avg'"),
        ({"poool": ["avg"]}, "unknown vit option 'poool'; did you mean 'pool'"),
    ],
)
def test_what_is_remembered_does_not_hide_a_wrong_equal(
    given: dict[str, Any], message: str
) -> None:
    """1 == 1.0 == True, so a memory that looked at values alone would let them pass."""
    arch = Arch("vit", depth=1, num_heads=(1,), mlp_ratio=(1,), embed_dim=16, patch_size=1)
    equals: list[dict[str, Any]] = [{"num_classes": 1}, {"img_size": (16, 16)}]
    for right in (*equals, {"img_size": (1, 16)}):
        cost.params(arch, **{"img_size": 16, **right})
    with pytest.raises(InputError, match=message):
        cost.params(arch, **{"img_size": 16, **given})

"""Spaces that several tests of spaces use: two small ones, and any that hypothesis draws."""

from __future__ import annotations

from hypothesis import strategies as st

from vitnas.space import Choice, Level, Space

SPACE = Space(
    "autoformer",
    (
        Choice("depth", (2, 3)),
        Choice("mlp_ratio", (3.5, 4.0), "block"),
        Choice("num_heads", ((3, 4), (4,), (3, 4, 5)), "block"),
        Choice("embed_dim", (192, 216)),
    ),
    name="toy",
)
STAGED = Space(
    "swin",
    (
        Choice("depth", ((1, 2), (2,)), "stage"),
        Choice("embed_dim", ((32, 64), (96,)), "stage"),
        Choice("num_heads", ((1, 2), (3, 4)), "block"),
        Choice("window", (7, 14), "block"),
        Choice("patch_size", (4,)),
    ),
    stages=2,
)

DEPTH = Choice("depth", (1, 2))

row = st.lists(st.integers(1, 9), min_size=1, max_size=2, unique=True).map(tuple)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Draw a space, with or without stages, tied genes and one that increases."""
    stages = draw(st.sampled_from([None, None, 1, 2]))
    depths = st.lists(st.integers(1, 2), min_size=1, max_size=2, unique=True).map(tuple)
    if stages:
        depth = Choice("depth", draw(st.tuples(*[depths] * stages) | depths), "stage")
    else:
        depth = Choice("depth", draw(depths))
    places = stages or max(depth.at(()))
    choices = [depth]
    for name in ("width", "heads", "ratio")[: draw(st.integers(0, 3))]:
        levels: list[Level] = ["net", "block", "stage"] if stages else ["net", "block"]
        level = draw(st.sampled_from(levels))
        varies = level != "net" and draw(st.booleans())
        values = draw(st.tuples(*[row] * places) if varies else row)
        tied = level == "block" and (bool(stages) or not varies) and draw(st.booleans())
        choices.append(Choice(name, values, level, tied))
    if not stages and not any(c.varies for c in choices) and draw(st.booleans()):
        numbers = st.lists(st.integers(0, 9), min_size=places, max_size=4, unique=True)
        choices.append(Choice("slot", tuple(sorted(draw(numbers))), "block", increasing=True))
    return Space("toy", tuple(draw(st.permutations(choices))), stages)

from __future__ import annotations

import vitnas
from vitnas.search.encoding import choices, encode
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL


def test_genes_have_names_and_absent_layers_have_none() -> None:
    space = Space(
        "toy",
        (
            Choice("depth", (2, 1)),
            Choice("norm", ("pre", "post")),
            Choice("width", (8,)),
            Choice("heads", ((1, 2), (4, 3)), "block"),
        ),
    )
    assert dict(choices(space)) == {
        "depth": (1, 2),
        "norm": ("pre", "post"),
        "heads[0]": (1, 2),
        "heads[1]": (3, 4),
    }
    arch = vitnas.Arch("toy", depth=1, norm="post", width=8, heads=(2,))
    assert encode(space, arch) == {"depth": 1, "norm": "post", "heads[0]": 2}


def test_with_stages_a_layer_has_two_numbers() -> None:
    space = Space(
        "toy",
        (
            Choice("depth", ((1, 2), (1,)), "stage"),
            Choice("width", ((8, 16), (32,)), "stage"),
            Choice("heads", (1, 2), "block"),
        ),
        stages=2,
    )
    assert list(choices(space)) == [
        "depth[0]",
        "width[0]",
        "heads[0][0]",
        "heads[0][1]",
        "heads[1][0]",
    ]


def test_tied_layers_have_one_gene() -> None:
    space = SMALL.with_tied("num_heads")
    genes = encode(space, space.largest)
    assert [name for name in genes if name.startswith("num_heads")] == ["num_heads[0]"]
    assert len({str(encode(space, arch)) for arch in space}) == space.size()

"""Presets: exact cardinalities, extremes, and what belongs to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.models import family, make_config

_S3 = 18 + 18**2 + 18**3  # one to three blocks of 3 ratios, 3 numbers of heads and 2 windows
_S3_LAST = 9 + 9**2 + 9**3
_VITAS_FREE = 30 * (401**16 - 1)  # each slot empty or one of 400 blocks, but not all empty


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("autoformer-tiny", 1_056_964_608),
        ("autoformer-tiny-wide", 280_804_921_344),
        ("autoformer-small", 77_103_263_459_313),
        ("autoformer-base", 10_108_977_168_384),
        ("autoformer-base-paper", 6_245_364_340_204_353),
        ("autoformer-nano", 3 * (9**4 + 9**5 + 9**6)),
        ("autoformer-digits", 3 * (9**2 + 9**3 + 9**4)),
        ("s3-digits", 2 * 3 * (8 + 8**2) ** 2),
        ("nni-autoformer-tiny", 280_804_921_344),
        ("nni-autoformer-small", 77_103_263_459_313),
        ("nni-autoformer-base", 6_245_364_340_204_353),
        ("mmrazor-autoformer-base", 6_245_364_340_204_353),
        ("s3-nano", 27 * (18 + 18**2) * (18 + 18**2 + 18**3) * (18 + 18**2)),
        ("s3-tiny", 81 * _S3**2 * (18**5 + 18**6 + 18**7) * _S3_LAST),
        ("s3-small", 81 * _S3**2 * (18**17 + 18**18 + 18**19) * _S3_LAST),
        ("s3-base", 81 * _S3**2 * (18**29 + 18**30 + 18**31) * _S3_LAST),
        ("s3-start", 81 * _S3 * (18 * _S3) * (18**5 + 18**6 + 18**7) * _S3_LAST),
        ("vitas", 30 * sum(400**depth for depth in range(1, 17))),
        ("vitas-a", _VITAS_FREE),
        ("vitas-b", _VITAS_FREE),
        ("vitas-c", 10 * 400**12),
        ("vitas-e", _VITAS_FREE),
        ("vitas-f", 30 * 400**13),
        ("vitas-nano", 6 * (64**3 + 64**4 + 64**5 + 64**6)),
        ("vitas-digits", 6 * (27**2 + 27**3 + 27**4)),
    ],
)
def test_exact_cardinalities(name: str, size: int) -> None:
    assert vitnas.space(name).size() == size


def test_every_preset_is_named_and_runs_in_its_family() -> None:
    for name in vitnas.spaces():
        space = vitnas.space(name)
        assert space.name == name
        for arch in (space.smallest, space.largest):
            assert arch in space
            model = family(space.family)
            options = {"img_size": model.img_size(arch)}
            assert model.units(make_config(model, arch, options), arch)


def test_extremes_have_the_official_sizes() -> None:
    counts = {
        "autoformer-tiny": (5366056, 10517272),
        "autoformer-tiny-wide": (4922536, 10517272),
        "autoformer-small": (13057320, 34790440),
        "autoformer-base": (41687896, 76882264),
        "autoformer-base-paper": (39792856, 76882264),
    }
    for name, wanted in counts.items():
        space = vitnas.space(name)
        found = tuple(vitnas.cost.params(arch) for arch in (space.smallest, space.largest))
        assert found == wanted


def test_the_published_tiny_is_honestly_outside_its_space() -> None:
    arch = vitnas.arch("autoformer-tiny")
    assert arch not in vitnas.space("autoformer-tiny")
    assert arch in vitnas.space("autoformer-tiny-wide")
    with pytest.raises(InputError) as caught:
        vitnas.space("autoformer-tiny").validate(arch)
    assert str(caught.value) == (
        "not in the space autoformer-tiny: "
        "mlp_ratio[2] is 3, the space allows 3.5, 4.0; "
        "mlp_ratio[4] is 3, the space allows 3.5, 4.0; "
        "mlp_ratio[5] is 3, the space allows 3.5, 4.0 "
        "(the published AutoFormer-T has MLP ratio 3.0 in three layers, which its authors' space "
        "lacks; the space autoformer-tiny-wide contains it)"
    )


def test_the_other_published_nets_are_inside() -> None:
    assert vitnas.arch("autoformer-small") in vitnas.space("autoformer-small")
    assert vitnas.arch("autoformer-base") in vitnas.space("autoformer-base")
    assert vitnas.arch("autoformer-base") in vitnas.space("autoformer-base-paper")
    eight = vitnas.space("autoformer-base-paper").smallest
    assert eight.num_heads[0] == 8
    assert eight not in vitnas.space("autoformer-base")


def test_unknown_names_and_missing_files() -> None:
    with pytest.raises(InputError, match="unknown search space 'autoformer-tinny'; did you mean"):
        vitnas.space("autoformer-tinny")
    with pytest.raises(InputError, match=r"can't read search space no\.yaml: .*No such file"):
        vitnas.space("no.yaml")


@pytest.mark.parametrize("seed", [None, "0", 1.5])
def test_seeds_are_whole_numbers(seed: Any) -> None:
    with pytest.raises(InputError, match="it must be a whole number"):
        vitnas.space("autoformer-tiny").sample(seed)


def test_numpy_seeds_are_seeds() -> None:
    space = vitnas.space("autoformer-tiny")
    assert space.sample(np.int64(3)) == space.sample(3)


def test_only_architectures_can_be_valid() -> None:
    with pytest.raises(InputError, match=r"an architecture is a vitnas\.Arch, not a dict"):
        vitnas.space("autoformer-tiny").validate({"depth": 12})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in vitnas.spaces() if name.startswith("s3-")])
def test_windows_of_every_preset_fit_its_images_and_none_is_there_twice(name: str) -> None:
    """At 224 px, or those of the space: no two values of a gene give the same block."""
    space = vitnas.space(name)
    side = {"s3-nano": 32, "s3-digits": 8}.get(name, 224)
    model = family("s3")
    blocks: dict[Any, Any] = {}
    for arch in space.tied():
        units = model.units(make_config(model, arch, {"img_size": side}), arch)
        for stage, layer in ((s, d) for s, depth in enumerate(arch.depth) for d in range(depth)):
            lists = (arch.mlp_ratio, arch.num_heads, arch.window_size)
            genes = (arch.embed_dim[stage], *(values[stage][layer] for values in lists))
            path = f"layers.{stage}.blocks.{layer}"
            (kind,) = (unit.kind for unit in units if unit.path == path)
            assert blocks.setdefault((path, kind), genes) == genes


def test_what_is_known_of_the_space_that_s3_starts_from() -> None:
    space, stage = vitnas.space("s3-start"), (1,)
    assert space["depth"].at(stage) == (2, 3, 4)
    assert space["embed_dim"].at(stage) == (224, 256, 288)
    assert tuple(32 * heads for heads in space["num_heads"].at(stage)) == (224, 256, 288)
    assert space["mlp_ratio"].at(stage) == (3.0, 3.5, 4.0)
    assert space["window_size"].at(stage) == (7, 14)


def test_a_supernet_of_the_free_space_serves_the_tied_one() -> None:
    free, tied = vitnas.space("s3-nano"), vitnas.space("s3-nano", tied=True)
    assert tied.size() < free.size()
    assert all(tied.sample(seed) in free for seed in range(50))


def test_a_space_may_leave_its_last_blocks_out_or_any() -> None:
    """The released nets but C and F leave out blocks in between."""
    free, last = vitnas.space("vitas-a"), vitnas.space("vitas")
    for name in "abe":
        arch = vitnas.arch(f"vitas-{name}")
        assert arch in free
        with pytest.raises(InputError, match="slot is no gene of the space"):
            last.validate(arch)
        genes = {gene: value for gene, value in arch.items() if gene != "slot"}
        assert Arch("vitas", **genes) in last

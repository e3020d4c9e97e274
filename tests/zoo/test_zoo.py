"""The zoo: every entry is consistent with the spaces and the closed-form costs."""

from __future__ import annotations

import pytest

import vitnas
from vitnas import cost
from vitnas.errors import InputError
from vitnas.interop import cream, mmrazor
from vitnas.zoo import entries

PUBLISHED = {  # depth, width, heads and ten times the MLP ratio per layer, params, top-1
    "autoformer-tiny": (192, "3333333333433", "35 35 30 35 30 30 40 40 35 40 35 40 35", 75.3),
    "autoformer-small": (384, "6657555667767", "30 35 30 35 40 40 40 40 40 40 40 35 40", 81.7),
}


def test_names() -> None:
    assert {"autoformer-tiny", "autoformer-small", "autoformer-base"} <= set(vitnas.archs())


@pytest.mark.parametrize("name", vitnas.archs())
def test_costs_and_space_of_every_entry(name: str) -> None:
    entry = entries()[name]
    assert entry.name == name
    assert vitnas.arch(name) == entry.arch
    assert cost.params(entry.arch) == entry.params
    assert cost.macs(entry.arch) == entry.macs
    assert entry.arch in vitnas.space(entry.space)
    assert 0 < entry.top1 < entry.top5 < 100


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_genes(name: str) -> None:
    width, heads, ratios, top1 = PUBLISHED[name]
    assert cream.foreign(vitnas.arch(name)) == {
        "layer_num": len(heads),
        "embed_dim": [width] * len(heads),
        "num_heads": [int(head) for head in heads],
        "mlp_ratio": [int(ratio) / 10 for ratio in ratios.split()],
    }
    assert entries()[name].top1 == top1


def test_published_base() -> None:
    arch = vitnas.arch("autoformer-base")
    assert (arch.depth, arch.embed_dim) == (14, 576)
    assert arch.num_heads == (9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10)
    ratios = (3.5, 3.5, 4, 3.5, 4, 3.5, 3.5, 3, 4, 4, 3, 4, 3, 3.5)
    assert arch.mlp_ratio == ratios


def test_published_mmrazor() -> None:
    """The YAML of MMRazor's repository, which has two layers more than the depth."""
    heads = (10, 10, 10, 8, 10, 9, 8, 8, 9, 8, 10, 10, 9, 10, 8, 10)
    ratios = (3.5, 3.5, 3.5, 4, 3, 3, 3.5, 3.5, 4, 4, 4, 4, 4, 4, 3.5, 3)
    record: dict[str, object] = {"mutable_depth": 14, "mutable_embed_dims": {"chosen": 576}}
    for i, (head, ratio) in enumerate(zip(heads, ratios, strict=True)):
        record[f"blocks.{i}.attn.mutable_attrs.num_heads"] = {"chosen": head}
        record[f"blocks.{i}.mutable_mlp_ratios"] = {"chosen": ratio}
    entry = entries()["mmrazor-autoformer-base"]
    assert entry.arch == mmrazor.arch(record)
    assert (entry.top1, entry.top5) == (82.47, 95.99)


@pytest.mark.parametrize(
    ("name", "depth", "windows", "top1"),
    [
        ("s3-tiny", (2, 2, 6, 2), (7, 7, 14, 7), 82.1),
        ("s3-small", (2, 2, 18, 2), (14, 14, 14, 14), 83.7),
        ("s3-base", (2, 2, 30, 2), (7, 7, 14, 7), 84.0),
    ],
)
def test_published_s3(
    name: str, depth: tuple[int, ...], windows: tuple[int, ...], top1: float
) -> None:
    arch = vitnas.arch(name)
    assert arch.depth == depth
    assert arch.embed_dim == (96, 192, 384, 768)
    for gene, values in (
        ("window_size", windows),
        ("num_heads", (3, 6, 12, 24)),
        ("mlp_ratio", (4, 4, 4, 4)),
    ):
        rows = tuple((value,) * layers for value, layers in zip(values, depth, strict=True))
        assert arch[gene] == rows
    assert entries()[name].top1 == top1


@pytest.mark.parametrize(
    ("name", "params", "macs", "official", "top"),
    [
        ("vitas-a", 3_679_478, 833_487_568, 858_652_480, (71.1, 89.8)),
        ("vitas-b", 4_400_248, 958_618_176, 990_624_768, (72.4, 90.6)),
        ("vitas-c", 6_048_414, 1_265_114_864, 1_303_042_496, (74.7, 92.0)),
        ("vitas-e", 12_550_598, 2_653_906_672, 2_706_797_632, (77.4, 93.8)),
        ("vitas-f", 22_540_277, 4_898_506_168, 4_930_994_656, (80.6, 95.1)),
    ],
)
def test_published_vitas(
    name: str, params: int, macs: int, official: int, top: tuple[float, float]
) -> None:
    entry = entries()[name]
    assert (entry.params, entry.macs, entry.top1, entry.top5) == (params, macs, *top)
    assert cost.convention("vitas", entry.arch) == official


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="unknown architecture 'autoformer-tini'; did you mean"):
        vitnas.arch("autoformer-tini")

"""The official counters of AutoFormer, S3 and ViTAS, on recorded nets and published figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vitnas
from interop import recorded_s3
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import cream, nni, s3

NNI = json.loads((Path(__file__).parents[1] / "goldens/nni_counts.json").read_text())
COUNTS = json.loads((Path(__file__).parents[1] / "goldens/autoformer_counts.json").read_text())
ARCH = Arch("autoformer", depth=1, mlp_ratio=(4,), num_heads=(3,), embed_dim=192)


@pytest.mark.parametrize("entry", COUNTS["entries"], ids=lambda e: f"{e['space']}-{e['name']}")
def test_every_official_count(entry: dict[str, Any]) -> None:
    arch = cream.arch(entry)
    assert cost.params(arch) == entry["params_official"]
    assert cost.macs(arch) == entry["macs_exact"]
    plain = cost.macs(arch, relative_position=False)
    assert plain == entry["macs_without_relative_position"]
    official = cost.convention("cream", arch)
    assert official == pytest.approx(entry["complexity_official"], rel=1e-9)


@pytest.mark.parametrize("size", NNI["spaces"])
def test_every_count_of_nni(size: str) -> None:
    rows = NNI["spaces"][size]["rows"]
    assert len(rows) == 7
    for row in rows.values():
        arch = vitnas.arch(row["model"]) if "model" in row else nni.arch(row["arch"])
        assert cost.params(arch) == row["exact_params"]
        for switches, name in (("default", "nni"), ("bare", "nni-bare")):
            counted = row[f"profiler_{switches}"]
            assert cost.convention(name, arch) == counted["flops"]
            assert cost.convention("nni-params", arch) == counted["params"]


MMRAZOR = [  # millions of params and of FLOPs, as MMRazor's estimator gives them
    ("mmrazor-autoformer-base", 54.319, 10570.05),
    ("autoformer-base", 53.470, 10403),
    ("autoformer-small", 22.716, 4389),
    ("autoformer-tiny", 5.730, 1086),
]


@pytest.mark.parametrize(("name", "params", "flops"), MMRAZOR)
def test_counts_of_mmrazor(name: str, params: float, flops: float) -> None:
    arch = vitnas.arch(name)
    assert round(cost.convention("mmrazor-params", arch) / 1e6, 3) == params
    exact = 1 if name.startswith("autoformer") else 0.01
    assert cost.convention("mmrazor", arch) / 1e6 == pytest.approx(flops, abs=exact / 2)


def test_params_of_mmrazor_without_biases_and_final_norm() -> None:
    """What it leaves out of the exact count is class token, positions and tables."""
    options = {"qkv_bias": False, "final_norm": False, "num_classes": 5, "img_size": 32}
    counted = cost.convention("mmrazor-params", ARCH, **options)
    assert cost.params(ARCH, **options) - counted == (5 + 1) * 192 + 4 * 30 * 64


@pytest.mark.parametrize(
    ("name", "flops"), [("tiny", 4627170816), ("small", 9410348544), ("base", 13662463488)]
)
def test_official_flops_of_the_published_s3(name: str, flops: int) -> None:
    assert cost.convention("s3", vitnas.arch(f"s3-{name}")) == flops


@pytest.mark.parametrize("name", recorded_s3.NAMES)
def test_official_flops_of_every_recorded_s3(name: str) -> None:
    recorded = recorded_s3.case(name)
    options = {field: recorded.config[field] for field in ("num_classes", "img_size")}
    flops = cost.convention("s3", s3.arch(recorded.config), **options)
    assert flops == pytest.approx(float(recorded.metadata["flops_method"]), rel=1e-12)


def test_official_flops_of_deit_tiny_and_small() -> None:
    """DeiT's stand in comments of the official code."""
    for heads, flops in ((3, 1_284_003_840), (6, 4_648_906_752)):
        width = 64 * heads
        genes = {"num_heads": heads, "attn_dim": width, "mlp_dim": 4 * width}
        blocks = {gene: (value,) * 12 for gene, value in genes.items()}
        arch = Arch("vitas", depth=12, **blocks, embed_dim=width, patch_size=16)
        assert cost.convention("vitas", arch) == flops


def test_refusals() -> None:
    with pytest.raises(InputError, match="unknown cost convention 'creem'; did you mean 'cream'"):
        cost.convention("creem", ARCH)
    with pytest.raises(InputError, match="convention cream covers autoformer architectures"):
        cost.convention("cream", Arch("vit", **ARCH))
    with pytest.raises(InputError, match="convention s3 covers s3 architectures, not autoformer"):
        cost.convention("s3", ARCH)
    with pytest.raises(InputError, match="img_size 224x224 is no multiple of patch_size 15"):
        cost.convention("vitas", vitnas.arch("vitas-a").replace(patch_size=15))
    with pytest.raises(InputError, match="known for abs_pos and max_relative_position 14 only"):
        cost.convention("cream", ARCH, abs_pos=False)

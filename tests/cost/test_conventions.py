"""The official counters of AutoFormer and S3, on every recorded net."""

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
from vitnas.interop import cream, s3

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


def test_refusals() -> None:
    with pytest.raises(InputError, match="unknown cost convention 'creem'; did you mean 'cream'"):
        cost.convention("creem", ARCH)
    with pytest.raises(InputError, match="convention cream covers autoformer architectures"):
        cost.convention("cream", Arch("vit", **ARCH))
    with pytest.raises(InputError, match="convention s3 covers s3 architectures, not autoformer"):
        cost.convention("s3", ARCH)
    with pytest.raises(InputError, match="known for abs_pos and max_relative_position 14 only"):
        cost.convention("cream", ARCH, abs_pos=False)

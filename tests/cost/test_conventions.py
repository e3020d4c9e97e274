"""The official counter of AutoFormer, on every recorded net."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import cream

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


def test_refusals() -> None:
    with pytest.raises(InputError, match="unknown cost convention 'creem'; did you mean 'cream'"):
        cost.convention("creem", ARCH)
    with pytest.raises(InputError, match="convention cream covers autoformer architectures"):
        cost.convention("cream", Arch("vit", **ARCH))
    with pytest.raises(InputError, match="known for abs_pos and max_relative_position 14 only"):
        cost.convention("cream", ARCH, abs_pos=False)

"""Any tensor that is missing, renamed, added or transposed is named in the refusal.

Without a config, as on the command line: sizes are read off the weights themselves, and one wrong
tensor must not be taken for the truth. ViTAS's come with their config here; without one they are
those of a known network: see `test_vitas_faults`.
"""

from __future__ import annotations

import pytest
from torch import Tensor

from vitnas.errors import InputError
from vitnas.interop.originals import original, recognise

from .damage import OPTIONAL, damaged, groups
from .recorded import case
from .recorded_nni import MMRAZOR, SUPERNET
from .recorded_nni import case as nni_case
from .recorded_s3 import case as s3_case
from .recorded_vitas import case as vitas_case

NAMES = {
    "cream": "autoformer_gp_rel_cqkv_abs_h3",
    "nni": "nni_subnet_default",
    "nni supernet": SUPERNET,
    "mmrazor": MMRAZOR,
    "s3": "s3_a_mixed64",
    "vitas": "vitas_searched_eps",
    "vitas supernet": "vitas_supernet_224",
}


def state(name: str) -> dict[str, Tensor]:
    if name == "cream":
        return dict(case(NAMES[name]).weights)
    if name == "s3":
        return s3_case(NAMES[name]).weights | s3_case(NAMES[name]).buffers
    if name.startswith("vitas"):
        return vitas_case(NAMES[name]).weights
    return nni_case(NAMES[name]).weights()


def load(name: str, part: dict[str, Tensor]) -> None:
    if name.startswith("vitas"):
        config = vitas_case(NAMES[name]).config
        original("vitas").load(part, config, faithful="supernet" in name)
    else:
        module = original(recognise(part))
        module.load(part, module.infer_config(part))


@pytest.mark.parametrize("how", ["removed", "renamed", "extra", "transposed"])
@pytest.mark.parametrize("name", NAMES)
def test_every_single_fault_is_named(name: str, how: str) -> None:
    whole = state(name)
    load(name, dict(whole))
    tried = 0
    for key, part in damaged(whole, how):
        later = "blocks." in key and "blocks.0." not in key
        if later or (how == "removed" and key.endswith(OPTIONAL)):
            continue
        with pytest.raises(InputError) as refused:
            load(name, part)
        assert key in str(refused.value), how
        assert len(str(refused.value)) < 300
        tried += 1
    assert tried >= (3 if how == "transposed" else 10)


@pytest.mark.parametrize("name", NAMES)
def test_every_group_that_is_missing_is_named(name: str) -> None:
    """However many of them, as when all biases or tables are gone."""
    whole = state(name)
    tried = groups(whole)
    assert len(tried) > 15
    for names in tried.values():
        part = {key: tensor for key, tensor in whole.items() if key not in names}
        with pytest.raises(InputError) as refused:
            load(name, part)
        assert any(key in str(refused.value) for key in names), names

"""Whose weights and architectures something is; what every system's module has."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import originals
from vitnas.interop.originals import SOURCES, describe_arch, original, read_arch, recognise
from vitnas.zoo import entries

from . import recorded, recorded_nni, recorded_s3

NAMES: list[tuple[str, Callable[[], Any]]] = [
    *(("cream", lambda name=name: recorded.case(name).weights) for name in recorded.NAMES),
    *(("s3", lambda name=name: recorded_s3.case(name).weights) for name in recorded_s3.NAMES),
    *(("nni", lambda name=name: recorded_nni.case(name).weights())
      for name in (*recorded_nni.SUBNETS, recorded_nni.SUPERNET)),
    ("mmrazor", lambda: recorded_nni.case(recorded_nni.MMRAZOR).weights()),
]  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_every_system_has_the_same_names(name: str) -> None:
    module = original(name)
    assert module.__name__ == SOURCES[name]
    functions = {"load": ["state_dict", "config", "space"], "dump": ["net", "space", "lossy"],
                 "lost": ["net", "space"], "arguments": ["net", "space"], "foreign": ["arch"],
                 "infer_config": ["state_dict"], "description": ["arch", "space"],
                 "recognises": ["names"], "describes": ["foreign"],
                 "arch": ["foreign"]}  # fmt: skip
    for function, parameters in functions.items():
        signature = inspect.signature(getattr(module, function))
        assert list(signature.parameters)[: len(parameters)] == parameters, function
        first = list(signature.parameters.values())[len(parameters) :]
        assert all(parameter.default is not parameter.empty for parameter in first), function
    assert module.WRAPPER is None or isinstance(module.WRAPPER, str)


@pytest.mark.parametrize(("source", "state"), NAMES)
def test_recorded_weights_are_recognised_whatever_one_name_is_missing(
    source: str, state: Callable[[], Any]
) -> None:
    names = set(state())
    assert recognise(names) == source
    for missing in names:
        assert recognise(names - {missing}) == source


def test_weights_of_nobody_and_of_several() -> None:
    with pytest.raises(InputError) as caught:
        recognise(["d", "c", "b", "a"])
    systems = ", ".join(SOURCES)
    assert str(caught.value) == f"these are weights of no known system ({systems}): a, b, c, ..."
    both = ["cls_token.cls_token", "patch_embed_super.proj.weight"]
    with pytest.raises(
        InputError, match=r"could be weights of cream or nni \(cls_token\.cls_token, "
    ):
        recognise(both)


def test_our_own_and_timms_weights_are_nobodys() -> None:
    genes = {"depth": 1, "embed_dim": 64, "num_heads": (1,), "mlp_ratio": (4,)}
    for family in ("autoformer", "vit"):
        state = vitnas.build(Arch(family, **genes), 3, 32).state_dict()
        with pytest.raises(InputError, match="no known system"):
            recognise(state)


def kept_by(entry: Any) -> set[str]:
    """The systems that have architectures of this family."""
    if entry.arch.family == "autoformer":
        return {"cream", "mmrazor", "nni"}
    return {entry.arch.family} & set(SOURCES)


@pytest.mark.parametrize("name", entries())
@pytest.mark.parametrize("to", SOURCES)
def test_published_architectures_in_every_form_of_every_system(name: str, to: str) -> None:
    entry = entries()[name]
    if to not in kept_by(entry):
        with pytest.raises(InputError, match=f"no {entry.arch.family} architectures"):
            describe_arch(entry.arch, to)
        return
    import yaml

    for space in (None, vitnas.space(entry.space)):
        suffix, text = describe_arch(entry.arch, to, space)
        assert suffix in ("json", "yaml", "txt")
        record: Any = text if suffix == "txt" else yaml.safe_load(text)
        assert read_arch(record) == entry.arch
        if to != "vitas":  # where a text is an encoding
            assert original(to).arch(text) == entry.arch


def test_our_own_record_is_read_and_told_apart() -> None:
    arch = vitnas.arch("autoformer-tiny")
    assert read_arch(json.loads(arch.to_json())) == arch
    message = "not an architecture: it needs the fields version, family and genes"
    others: list[Any] = [{}, [], 3, None, {"family": "autoformer"}, {"depth": 3}]
    for record in others:
        with pytest.raises(InputError, match=message):
            read_arch(record)
    both = {"layer_num": 1, "num_head_0": 3}
    with pytest.raises(InputError, match="this could be an architecture of cream or nni; write it"):
        read_arch(both)


def test_unknown_systems() -> None:
    with pytest.raises(InputError, match="unknown checkpoint source 'nini'; did you mean 'nni'"):
        original("nini")
    with pytest.raises(InputError, match="unknown architecture format 'mrazor'; did you mean 'mmr"):
        describe_arch(vitnas.arch("autoformer-tiny"), "mrazor")
    assert originals.SOURCES is SOURCES

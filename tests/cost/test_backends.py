"""Nets to be timed: their steps are the same net, whatever runs them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.compiling import compile_blocks
from vitnas.cost import backends
from vitnas.cost.backends import Nets, running
from vitnas.cost.table import plain_options

from .clocks import OPTIONS, SPACE

VITAS = Arch(
    "vitas",
    depth=2,
    num_heads=(1, 2),
    attn_dim=(8, 8),
    mlp_dim=(8, 16),
    embed_dim=8,
    patch_size=4,
    slot=(0, 3),
)
DIGITS = {"img_size": 8, "num_classes": 10, "in_chans": 1}
VIT = Arch("vit", depth=2, mlp_ratio=(1, 2), num_heads=(1, 2), embed_dim=8)
NETS: list[tuple[Arch, dict[str, Any]]] = [
    (VIT, OPTIONS),
    (vitnas.space("autoformer-digits").sample(0), DIGITS),
    (vitnas.space("s3-digits").sample(0), DIGITS),
    (VITAS, {"img_size": 8, "num_classes": 3}),
]


def run(steps: list[Any], x: Any) -> Tensor:
    for step in steps:
        x = step(x)
    return torch.as_tensor(x)


@pytest.mark.parametrize(("arch", "options"), NETS, ids=lambda given: getattr(given, "family", ""))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_steps_are_the_net(arch: Arch, options: dict[str, Any], dtype: str) -> None:
    """One after the other they give its logits, to the last bit: all weights are the same."""
    nets = Nets(plain_options(arch, options), cost.settings("cpu", dtype=dtype, batch_size=2))
    images = nets.images(arch)
    assert images.dtype == getattr(torch, dtype)
    assert len(images) == 2
    kinds, steps = nets.split(arch)
    assert kinds[:-1] == [unit.kind for unit in nets.units(arch)]
    assert kinds[-1] == kinds[0]
    assert len(steps) == len(kinds)
    logits = run(nets.whole(arch), images)
    assert logits.shape == (2, options["num_classes"])
    assert bool(logits.isfinite().all())
    assert float(logits.float().std()) > 0
    torch.testing.assert_close(run(steps, images), logits, rtol=0, atol=0)


def test_all_nets_use_the_same_memory_in_aligned_places() -> None:
    nets = Nets(plain_options(SPACE.largest, OPTIONS), cost.settings("cpu"))
    (large,), (small,) = nets.whole(SPACE.largest), nets.whole(SPACE.smallest)
    assert isinstance(large, nn.Module)
    assert isinstance(small, nn.Module)
    ends = [next(net.parameters()).data_ptr() for net in (large, small)]
    assert ends[0] == ends[1]
    places = [parameter.data_ptr() for parameter in large.parameters()]
    assert all((place - ends[0]) % 256 == 0 for place in places)
    spans = [(p.data_ptr(), p.data_ptr() + p.nbytes) for p in large.parameters()]
    assert all(after[0] >= before[1] for before, after in pairwise(spans))
    assert all(float(p.std()) > 0.01 for p in large.parameters() if p.numel() > 8)


@pytest.mark.parametrize(("arch", "options"), NETS, ids=lambda given: getattr(given, "family", ""))
def test_onnx_runtime_computes_the_same(arch: Arch, options: dict[str, Any]) -> None:
    pytest.importorskip("onnxruntime")
    given, wanted = plain_options(arch, options), {}
    for backend in ("eager", "onnxruntime"):
        nets = Nets(given, cost.settings("cpu", backend=backend, batch_size=2, threads=1))
        images = nets.images(arch)
        wanted[backend] = run(nets.whole(arch), images)
    _, steps = nets.split(arch)  # of kinds that differ, since those of a kind are one session
    for found in (wanted["onnxruntime"], run(steps, images)):
        torch.testing.assert_close(found, wanted["eager"], rtol=1e-3, atol=1e-4)
    assert len(set(map(id, steps))) == len(steps)


def test_onnx_runtime_has_one_session_a_kind() -> None:
    pytest.importorskip("onnxruntime")
    nets = Nets(plain_options(SPACE.largest, OPTIONS), cost.settings("cpu", backend="onnxruntime"))
    kinds, steps = nets.split(SPACE.largest)
    assert len(kinds) == len(steps) == 5
    assert len(set(map(id, steps))) == 3
    assert run(steps, nets.images(SPACE.largest)).shape == (1, 3)


def test_compiled_nets_have_compiled_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that needs no C++ compiler, which the library's own tests have."""

    def compiled(model: nn.Module, device: torch.device) -> None:
        compile_blocks(model, device, backend="aot_eager")

    monkeypatch.setattr(backends, "compile_blocks", compiled)
    arch, settings = SPACE.largest, cost.settings("cpu", backend="compile")
    given = plain_options(arch, OPTIONS)
    nets, plain = Nets(given, settings), Nets(given, cost.settings("cpu"))
    torch.compiler.reset()
    with running(settings), torch.inference_mode():
        (whole,), (_, steps) = nets.whole(arch), nets.split(arch)
        for step in steps[1:-1]:
            assert isinstance(step, nn.Module)
            assert step._compiled_call_impl is not None
        wanted = run(plain.whole(arch), nets.images(arch))
        for found in (run([whole], nets.images(arch)), run(steps, nets.images(arch))):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_table_of_compiled_nets() -> None:
    torch.compiler.reset()
    settings = cost.settings("cpu", backend="compile", threads=1)
    table = cost.latency_table(SPACE, settings, repeats=3, archs=2, **OPTIONS)
    assert len(table.rows) == table.kinds == 10
    assert table(SPACE.largest) > 0


def test_a_table_of_onnx_runtime() -> None:
    pytest.importorskip("onnxruntime")
    space = SPACE.with_values(depth=(1, 2), mlp_ratio=(1,), embed_dim=(8,))
    settings = cost.settings("cpu", backend="onnxruntime", threads=1)
    table = cost.latency_table(space, settings, repeats=3, archs=1, **OPTIONS)
    assert len(table.rows) == table.kinds == 3
    assert table(space.largest) > 0

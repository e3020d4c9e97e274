"""Compiled blocks: as many graphs as kinds, the same numbers, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
from torch import Tensor, nn

import vitnas
from train.runs import SPACE, digits, small_recipe
from vitnas.compiling import compile_blocks, count_graphs, graph_room
from vitnas.errors import InputError
from vitnas.supernet import Supernet
from vitnas.train.loop import train

CPU = torch.device("cpu")
IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def supernet() -> Supernet:
    """Return a supernet whose layers differ in drop path, so that it has many kinds."""
    torch.manual_seed(0)
    return Supernet(SPACE, 10, 8, in_chans=1, drop_path_rate=0.3)


def test_every_kind_has_one_graph_and_none_is_left_out() -> None:
    net = supernet().train()
    graphs: list[Any] = []
    calls: list[None] = []

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)

        def call(*given: Any) -> Any:
            calls.append(None)
            return graph.forward(*given)

        return call

    torch.compiler.reset()
    compile_blocks(net, CPU, backend=count)  # type: ignore[arg-type]
    ran = 0
    with graph_room(count_graphs(net)), torch.no_grad():
        for arch in SPACE.tied():
            net(IMAGES, arch)
            ran += len(net.units(arch)) - 1
    kinds = {unit.kind for arch in SPACE.tied() for unit in net.units(arch)[1:]}
    assert 8 < len(graphs) <= len(kinds) == count_graphs(net) // 2
    assert len(calls) == ran


def test_a_bilateral_supernet_has_a_graph_for_each_side_where_they_differ() -> None:
    net = Supernet(SPACE, 10, 8, sharing={"embed": "bilateral"}, in_chans=1)
    kinds = {unit.kind for arch in SPACE.tied() for unit in net.units(arch)[1:]}
    narrow = {kind for kind in kinds if kind.size["embed"] == 16}
    assert len(narrow) == len(kinds) / 2
    assert count_graphs(net) == 2 * (len(kinds) + len(narrow))


def test_compiled_blocks_compute_the_same() -> None:
    arch, found = SPACE.largest, []
    for compiled in (False, True):
        net = supernet().eval()
        torch.compiler.reset()
        if compiled:
            compile_blocks(net, CPU, backend="aot_eager")
        with graph_room(count_graphs(net)):
            out = net(IMAGES, arch)
            out.sin().sum().backward()
        assert list(net.state_dict()) == list(supernet().state_dict())
        found.append((out, *(p.grad for p in net.parameters())))
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(plain, fast, rtol=1e-4, atol=1e-6)


def test_ordinary_models_have_a_graph_for_each_block_and_mode() -> None:
    model = vitnas.build(SPACE.largest, num_classes=10, img_size=8, in_chans=1)
    assert count_graphs(model) == 2 * 3


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="Linear has no blocks to compile; do without"):
        compile_blocks(nn.Linear(1, 1), CPU)
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/nowhere/g++",))
    with pytest.raises(InputError, match=r"torch.compile needs a C\+\+ compiler such as g\+\+"):
        compile_blocks(supernet(), CPU)
    with pytest.raises(InputError, match="compile is True, it must be false where grad_check"):
        small_recipe(compile=True, grad_checkpointing=True)


@pytest.mark.slow
def test_training_with_compiled_blocks(tmp_path: Path) -> None:
    ends = []
    for compiled in (False, True):
        net = supernet()
        recipe = small_recipe(compile=compiled, drop_path=0.0)
        result = train(net, recipe, digits(), tmp_path / str(compiled), device="cpu")
        assert result.finished
        ends.append(result.loss)
    assert ends[0] == pytest.approx(ends[1], rel=1e-2)

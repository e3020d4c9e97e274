"""What a model family must satisfy under a sharing policy; run all of it on your own with::

    check_model(space, sharing="prefix", num_classes=10, img_size=32)

Every check stands alone too. It raises AssertionError with what is wrong. `images` are a batch
(B, in_chans, H, W) in float32; nets are compared in evaluation mode, on the CPU. Of a bilateral
supernet both sides of each architecture are checked. The checks of the axis map itself are in
`vitnas.testing.maps`.
"""

from __future__ import annotations

import copy
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitnas import cost, folder
from vitnas.arch import Arch
from vitnas.axes import runs_through
from vitnas.elastic import ElasticBlock, parameter_name
from vitnas.errors import InputError
from vitnas.models import family
from vitnas.sharing import SIDES, Sharing, Side
from vitnas.space import Space
from vitnas.supernet import Supernet, build
from vitnas.testing import maps
from vitnas.train.samplers import Sampler, uniform

_WITHOUT_VITNAS = """
import importlib.abc, importlib.util, sys
import torch
from safetensors.torch import load_file

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "vitnas":
            raise ImportError("vitnas is not installed here")

sys.meta_path.insert(0, Absent())
torch.set_num_threads(int(sys.argv[1]))
for folder in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location("modeling", folder + "/modeling.py")
    modeling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(modeling)
    model = modeling.load(folder)
    for part in model.modules():
        owner = type(part).__module__.partition(".")[0]
        assert owner in ("torch", "timm", "modeling"), f"{type(part)} is of {owner}"
    case = load_file(folder + "/case.safetensors")
    with torch.no_grad():
        assert torch.equal(model(case["images"]), case["logits"]), folder + ": other logits"
"""


def check_model(
    space: Space,
    sharing: Sharing = "prefix",
    *,
    axes: Sequence[str] = ("embed", "heads", "hidden"),
    hold: Sequence[str] | None = None,
    standalone: bool = True,
    graphs: bool = True,
    seed: int = 0,
    **options: Any,
) -> None:
    """Run every check on the smallest, the largest and some random subnets of a small space.

    Args:
        space: what to check; several heads and MLP units, so that errors in their order show.
        sharing: the policies.
        axes: the axes that can be permuted or cut without a change of meaning.
        hold: genes that the masking check keeps at their largest; by default those that change
            more than the axes.
        standalone: also load saved models in a process without vitnas (it starts torch anew).
        graphs: also compile, and count the graphs (which takes longer than all the rest).
        seed: of parameters, images and architectures.
        options: of the family: num_classes, img_size, ...
    """
    net, static = make(space, sharing, seed, **options)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, net.config.in_chans, *net.config.img_size, generator=generator)
    archs = [space.smallest, space.largest, *(space.sample(seed + i) for i in range(3))]

    check_largest(net, static, images)
    check_bit_identical(net, archs, images)
    check_sides(net, archs)
    check_state_keys(net, static)
    check_no_attribute_changes(net, archs, images)
    check_gradients_outside_slice(net, archs, images)
    check_arch_values(space, archs)
    check_params(net, archs)
    check_macs(net, archs)
    if graphs:
        check_graph_count(net, archs[:2], images)
    check_step_archs(space)
    maps.check_complete(net, archs)
    maps.check_shapes(net, archs)
    own = [axis for axis in axes if not runs_through(axis)]
    maps.check_masking(net, archs, images, axes=own, hold=hold)
    maps.check_symmetry(net, images, axes=axes)
    if standalone:
        check_loads_without_vitnas([net.extract(arch) for arch in archs], images)


def make(
    space: Space, sharing: Sharing = "prefix", seed: int = 0, **options: Any
) -> tuple[Supernet, nn.Module]:
    """Return a supernet and the static model that it was made from, every parameter random.

    No parameter stays at zero or one, where an error could hide.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        defaults = dict(family(space.family).supernet)
        static = build(space.stored, **{**defaults, **options}).eval()
        with torch.no_grad():
            for parameter in static.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        net = Supernet(space, sharing=sharing, static=copy.deepcopy(static), **options)
        with torch.no_grad():
            for parameter in net.parameters():  # private ones that are no slice start afresh
                if bool((parameter == parameter.flatten()[0]).all()):
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval(), static


def check_bit_identical(net: Supernet, archs: Iterable[Arch], images: Tensor) -> None:
    """Invariant 1: a subnet in the supernet and its extracted model agree to the last bit."""
    for arch, side in _subnets(net, archs):
        model = net.extract(arch, side)
        with torch.no_grad():
            same = torch.equal(net(images, arch, side), model(images))
        assert same, f"the extracted model has other logits: {_name(arch, side)}"
        shared = {p.data_ptr() for p in net.parameters()} & {
            p.data_ptr() for p in model.parameters()
        }
        assert not shared, f"the extracted model shares storage: {_name(arch, side)}"


def check_sides(net: Supernet, archs: Iterable[Arch]) -> None:
    """The sides that a supernet says an architecture has are all that it has, and differ.

    They are: none without a bilateral axis; left and right where any parameter differs; else left.
    """
    for arch in archs:
        sides = net.sides(arch)
        if not net.sharing.bilateral:
            assert sides == (None,), f"no axis is bilateral, but {arch} has the sides {sides}"
            refusal = _refusal(partial(net.subnet_state, arch, "left"))
            assert "has no sides" in refusal, f"no axis is bilateral, but a side is taken: {arch}"
            continue
        default, left, right = (net.subnet_state(arch, side) for side in (None, *SIDES))
        assert all(torch.equal(default[n], left[n]) for n in left), f"None is not left: {arch}"
        same = all(torch.equal(left[n], right[n]) for n in left)
        wanted = SIDES[:1] if same else SIDES
        assert sides == wanted, f"{arch} has the sides {', '.join(wanted)}, not {sides}"


def check_largest(net: Supernet, static: nn.Module, images: Tensor) -> None:
    """Invariant 2: the largest subnet is the static model that the supernet was made from."""
    model = net.extract(net.largest)
    assert type(model) is type(static), f"extracted a {type(model)}, made from a {type(static)}"
    theirs = static.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, theirs[name]), f"{name} differs from the static model's"
    with torch.no_grad():
        assert torch.equal(net(images, net.largest), static(images)), "other logits than the static"


def check_state_keys(net: Supernet, static: nn.Module) -> None:
    """Invariant 3: the state has the static model's keys; what is private lies in banks beside."""
    keys, wanted = set(net.state_dict()), set(static.state_dict())
    banks = {key for key in keys if parameter_name(key) != key}
    assert keys - banks == wanted, f"state keys differ: {sorted((keys - banks) ^ wanted)}"
    strangers = {key for key in banks if parameter_name(key) not in wanted}
    assert not strangers, f"banks of no parameter: {sorted(strangers)}"
    private = any(net.sharing.policy(axis).private for axis in _axes(net))
    assert private or not banks, f"no policy is private, but there are banks: {sorted(banks)}"


def check_no_attribute_changes(net: Supernet, archs: Iterable[Arch], images: Tensor) -> None:
    """Invariant 4: running subnets changes no attribute of any module and writes no tensor."""
    before = _attributes(net)
    versions = {name: tensor._version for name, tensor in net.state_dict(keep_vars=True).items()}
    for arch, side in _subnets(net, archs):
        net(images, arch, side)
        after = _attributes(net)
        assert before.keys() == after.keys(), f"attributes: {before.keys() ^ after.keys()}"
        changed = [key for key, value in before.items() if after[key] is not value]
        assert not changed, f"changed during forward: {changed}"
    for name, tensor in net.state_dict(keep_vars=True).items():
        assert tensor._version == versions[name], f"{name} was written during forward"


def check_gradients_outside_slice(net: Supernet, archs: Iterable[Arch], images: Tensor) -> None:
    """Invariant 5: the storage receives the extracted model's gradients, and zeros elsewhere.

    Both are compared as multisets of their non-zero values: which places are read is what
    `maps.check_masking` decides.
    """
    for arch, side in _subnets(net, archs):
        model = net.extract(arch, side)
        net.zero_grad()
        for logits in (net(images, arch, side), model(images)):
            torch.sin(3 * logits).sum().backward()
        found: dict[str, list[Tensor]] = {}
        places = {f"{unit.path}.": f"{unit.model_path}." for unit in net.units(arch)[1:]}
        for key, parameter in net.named_parameters():
            gradient = parameter.grad if parameter.grad is not None else torch.zeros(1)
            name = parameter_name(key)
            path = next(filter(name.startswith, places), "")
            name = places.get(path, "") + name.removeprefix(path)
            found.setdefault(name, []).append(gradient.flatten())
        wanted = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert wanted.keys() <= found.keys()
        for name, gradients in found.items():
            mine, theirs = _nonzero(torch.cat(gradients)), _nonzero(wanted.get(name))
            what = _name(arch, side)
            assert len(mine) <= len(theirs), f"{name} has gradient outside of the slice: {what}"
            assert torch.equal(mine, theirs), f"{name} has another gradient than alone: {what}"
    net.zero_grad()


def check_arch_values(space: Space, archs: Iterable[Arch]) -> None:
    """Invariant 6: JSON is exact, equal archs hash equal, others are refused by the gene's name."""
    for arch in archs:
        back = Arch.from_json(arch.to_json())
        assert back == arch, f"JSON changed {arch} into {back}"
        assert hash(back) == hash(arch), f"equal architectures hash differently: {arch}"
        assert arch in space, f"not in its space: {arch}"
        for name in arch:
            wrong = arch.replace(**{name: "neither"})
            assert wrong not in space, f"the space contains {wrong}"
            refusal = _refusal(partial(space.validate, wrong))
            assert name in refusal, f"validate does not name {name} of {wrong}: {refusal!r}"


def check_params(net: Supernet, archs: Iterable[Arch]) -> None:
    """Invariant 7: `cost.params` is the parameter count of the extracted model."""
    options = net.config.to_dict()
    for arch in archs:
        built = sum(parameter.numel() for parameter in net.extract(arch).parameters())
        counted = cost.params(arch, **options)
        assert counted == built, f"cost.params is {counted}, the model has {built}: {arch}"


def check_macs(net: Supernet, archs: Iterable[Arch]) -> None:
    """`cost.macs` is half of what torch's FLOP counter sees in the built model."""
    options = net.config.to_dict()
    for arch in archs:
        counted = 2 * cost.macs(arch, attention="factorised", **options)
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model = build(arch, **options).eval()
            model(torch.empty(1, net.config.in_chans, *net.config.img_size))
        flops = counter.get_total_flops()
        assert counted == flops, f"cost.macs gives {counted} FLOPs, torch counts {flops}: {arch}"


def check_graph_count(net: Supernet, archs: Iterable[Arch], images: Tensor) -> None:
    """Invariant 8: compiled units are right, with one graph for each kind and side at most."""
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    subnets = list(_subnets(net, archs))
    parts = [part for subnet in subnets for part in net.parts(*subnet)[1:]]
    kinds = {(unit.kind, side) for unit, side in parts}
    compiled = copy.deepcopy(net)
    for module in compiled.modules():
        if isinstance(module, ElasticBlock):
            module.compile(backend=count, dynamic=False, fullgraph=True)
    torch.compiler.reset()
    limits = {"recompile_limit": 256, "accumulated_recompile_limit": 1024}
    with torch._dynamo.config.patch(limits), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the compiler's own
        for subnet in subnets:
            torch.testing.assert_close(compiled(images, *subnet), net(images, *subnet))
    torch.compiler.reset()
    assert 0 < len(graphs) <= len(kinds), f"{len(graphs)} graphs for {len(kinds)} kinds"


def check_step_archs(
    space: Space, sampler: Callable[[Space, int], Sampler] = uniform, steps: int = 20
) -> None:
    """Invariant 9: the archs of a step depend on space, seed and step, not on what ran before."""
    forward = sampler(space, 0)
    drawn = [forward(step) for step in range(steps)]
    state = random.getstate()
    backward = sampler(space, 0)
    random.seed(1)
    again = [backward(step) for step in reversed(range(steps))]
    assert drawn == again[::-1], "the archs of a step depend on the steps before"
    assert random.getstate() == random.Random(1).getstate(), "the global generator was used"
    random.setstate(state)
    assert all(arch in space for archs in drawn for arch in archs), "an arch outside of the space"


def check_loads_without_vitnas(models: Sequence[nn.Module], images: Tensor) -> None:
    """Invariant 10: a saved model runs, bit for bit, in a process that can't import vitnas."""
    with tempfile.TemporaryDirectory() as place:
        folders = [folder.save(model, Path(place, str(i))) for i, model in enumerate(models)]
        for model, path in zip(models, folders, strict=True):
            with torch.no_grad():
                case = {"images": images, "logits": model.eval()(images)}
            save_file(case, path / "case.safetensors")
        arguments = [str(torch.get_num_threads()), *map(str, folders)]
        command = [sys.executable, "-c", _WITHOUT_VITNAS, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"does not load without vitnas:\n{done.stderr}"


def _subnets(net: Supernet, archs: Iterable[Arch]) -> Iterator[tuple[Arch, Side | None]]:
    yield from ((arch, side) for arch in archs for side in net.sides(arch))


def _name(arch: Arch, side: Side | None) -> str:
    return f"{arch}" if side is None else f"{arch}, {side}"


def _refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except InputError as error:
        return str(error)
    return ""


def _axes(net: Supernet) -> set[str]:
    return {axis for unit in net.units(net.largest) for axis in unit.kind.size}


def _attributes(net: nn.Module) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for path, module in net.named_modules():
        for name, value in vars(module).items():
            found[path, name] = value
            if isinstance(value, Mapping):
                found.update({(path, name, str(key)): item for key, item in value.items()})
    return found


def _nonzero(gradient: Tensor | None) -> Tensor:
    if gradient is None:
        return torch.empty(0)
    return gradient[gradient != 0].sort().values

"""Checks of a family's axis map: complete, shape-true, and true to the values.

A layout with two axes swapped can have the right shape and still cut the wrong rows. Two oracles
decide, neither of which slices: zeros beyond what a subnet keeps must leave it alone in the largest
model, and a reordering of an axis must leave the largest model's function as it is.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitnas import axes as layout_axes
from vitnas.arch import Arch
from vitnas.axes import parse
from vitnas.elastic import Elastic, parameter_name
from vitnas.genes import value_at
from vitnas.models import Kind, Unit, family
from vitnas.sharing import Rules
from vitnas.slicing import mask_beyond, permute
from vitnas.space import Choice, Position, Space
from vitnas.supernet import Supernet, build


def check_complete(net: Supernet, archs: Iterable[Arch]) -> None:
    """Every parameter of every kind of unit has one layout, and every layout a parameter."""
    for kind in _kinds(net, archs):
        parameters = dict(_twin(net, kind).named_parameters())
        try:
            layout_axes.check_complete(_layouts(net, kind), parameters, net.largest.family)
        except ValueError as error:
            raise AssertionError(f"{error} ({kind})") from error


def check_shapes(net: Supernet, archs: Iterable[Arch]) -> None:
    """Sliced shapes are those of the static model of that size, built on the meta device."""
    archs = list(archs)
    for kind in _kinds(net, archs):
        parameters = dict(_twin(net, kind).named_parameters())
        for name, text in _layouts(net, kind).items():
            shape, wanted = parse(text).shape(kind.size), tuple(parameters[name].shape)
            assert shape == wanted, f"{name}: {text!r} gives {shape}, it is {wanted} ({kind})"
    for arch in archs:
        with torch.device("meta"):
            model = build(arch, **net.config.to_dict())
        state, wanted_state = net.subnet_state(arch), model.state_dict()
        assert state.keys() == wanted_state.keys(), f"keys: {state.keys() ^ wanted_state.keys()}"
        for name, tensor in state.items():
            wanted = wanted_state[name].shape
            assert tensor.shape == wanted, f"{name} is {tensor.shape}, built {wanted}: {arch}"


def check_masking(
    net: Supernet,
    archs: Iterable[Arch],
    images: Tensor,
    axes: Sequence[str] = ("heads", "hidden"),
    hold: Sequence[str] | None = None,
) -> None:
    """The largest model with zeros beyond a subnet's heads, units and blocks is the subnet.

    Of a bilateral supernet each side is one: the right subnet is what lies at the end of the axes.

    Genes in `hold` are kept at their largest: widths that a norm looks at can't be masked, nor
    what is no size, such as a window. By default those that change more than the axes. In float64.
    """
    space = net.space
    assert space is not None, "the masking check needs a supernet with a space"
    net, images = _steady(net), images.double()
    hold = _beyond(net, axes) if hold is None else hold
    cut: set[str] = set()
    lifted = {_lift(space, arch, hold) for arch in archs}
    for arch, side in [(one, side) for one in lifted for side in net.sides(one)]:
        kept = {unit.path: unit.kind for unit in net.units(arch)}
        model = net.extract(net.largest)
        for unit in net.units(net.largest):
            part = model.get_submodule(unit.path)
            if unit.path in kept:
                cut |= _mask(net, part, unit.kind, kept[unit.path], axes, net.sharing.on(side))
            else:
                _zero(part)
        with torch.no_grad():
            what = f"the masked largest model is not the subnet: {arch}"
            _assert_same(net(images, arch, side), model(images), what)
    assert cut == set(axes), f"no architecture cuts {', '.join(set(axes) - cut)}; try others"


def check_symmetry(
    net: Supernet, images: Tensor, axes: Sequence[str] = ("embed", "heads", "hidden")
) -> None:
    """Reordering an axis in all layouts leaves the largest model's function as it is.

    Channels of the residual stream are reordered through the whole net or their stage (`embed`
    stands for `embed0`, `embed1`, ...), another axis in each unit. An axis that the output has too
    (embed, where num_classes is 0) must be left out. In float64.
    """
    net, images = _steady(net), images.double()
    units = net.units(net.largest)
    known = dict.fromkeys(axis for unit in units for axis in unit.kind.size)
    for axis in itertools.chain.from_iterable(_staged(name, known) for name in axes):
        model = net.extract(net.largest)
        wanted = model(images)
        through = layout_axes.runs_through(axis)
        groups = [list(units)] if through else [[unit] for unit in units]
        changed = [_reorder(net, model, group, axis, seed) for seed, group in enumerate(groups)]
        assert any(changed), f"axis {axis}: there is nothing to reorder in {net.largest}"
        _assert_same(model(images), wanted, f"reordering {axis} changes the function")


def _beyond(net: Supernet, axes: Sequence[str]) -> list[str]:
    """Return the genes whose smallest value changes a unit in more than some axes."""

    def rest(kind: Kind) -> tuple[list[Any], list[Any]]:
        named = _axes(_layouts(net, kind, False)) - {*axes}
        settings = [setting for setting in kind.settings if setting[0] != "drop_path"]
        return [size for size in kind.sizes if size[0] in named], settings

    space, found = net.space, []
    assert space is not None
    large = {unit.path: rest(unit.kind) for unit in net.units(space.largest)}
    for gene in space.choices:

        def pick(choice: Choice, at: Position, cut: Choice = gene) -> Any:
            return (min if choice is cut else max)(choice.at(at))

        if any(rest(unit.kind) != large[unit.path] for unit in net.units(space.build(pick))):
            found.append(gene.name)
    return found


def _staged(name: str, known: Iterable[str]) -> list[str]:
    """Return an axis, or those of all stages that its name stands for."""
    return [axis for axis in known if name in (axis, layout_axes.plain(axis))] or [name]


def _kinds(net: Supernet, archs: Iterable[Arch]) -> Iterator[Kind]:
    yield from dict.fromkeys(unit.kind for arch in archs for unit in net.units(arch))


def _twin(net: Supernet, kind: Kind) -> nn.Module:
    with torch.device("meta"):
        return family(net.largest.family).build_unit(net.config, kind)


def _layouts(net: Supernet, kind: Kind, legacy: bool | None = None) -> Mapping[str, str]:
    legacy = net.sharing.legacy if legacy is None else legacy
    return family(net.largest.family).layouts(net.config, kind.role, legacy)


def _axes(layouts: Mapping[str, str]) -> set[str]:
    named = (axis for text in layouts.values() for axis in parse(text).all_axes)
    return {axis for axis in named if not axis.isdigit()}


def _steady(net: Supernet) -> Supernet:
    """Return a copy in float64, with zeros in what a legacy order gives another meaning by size.

    No map of axes can say what such an entry is; recordings of the original must.
    """
    net, model = copy.deepcopy(net).double(), family(net.largest.family)
    for unit in net.units(net.largest):
        elastic = net.get_submodule(unit.path)
        assert isinstance(elastic, Elastic)
        ours, theirs = (model.layouts(net.config, unit.kind.role, old) for old in (False, True))
        for key, parameter, _, _ in elastic.stored():
            name = parameter_name(key)
            if net.sharing.legacy and ours[name] != theirs[name]:
                nn.init.zeros_(parameter)
    return net


def _assert_same(actual: Tensor, wanted: Tensor, what: str) -> None:
    def message(text: str) -> str:
        return f"{what}\n{text}"

    torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-9, msg=message)


def _lift(space: Space, arch: Arch, hold: Sequence[str]) -> Arch:
    def pick(choice: Choice, at: Position) -> Any:
        if choice.name in hold:
            return max(choice.at(at))
        value = value_at(arch[choice.name], at)
        # A layer that is there only because the depth is held has no genes of its own.
        return max(choice.at(at)) if value is None else value

    return space.build(pick)


def _zero(part: nn.Module) -> None:
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.zero_()


def _mask(
    net: Supernet, part: nn.Module, largest: Kind, kind: Kind, axes: Sequence[str], sharing: Rules
) -> set[str]:
    """Zero what a kind does not keep, in a unit of the largest model; return the axes cut."""
    layouts = _layouts(net, largest, legacy=False)
    known = _axes(layouts)
    smaller = {axis for axis in known | set(axes) if kind.size.get(axis) != largest.size.get(axis)}
    beyond = smaller - (known & set(axes))
    assert not beyond, f"{', '.join(beyond)} can't be masked; keep the genes with `hold`"
    keep = {
        axis: (sharing.policy(axis).start(largest.size[axis], kind.size[axis]), kind.size[axis])
        for axis in smaller
    }
    with torch.no_grad():
        for name, text in layouts.items():
            parameter = part.get_parameter(name)
            parameter.copy_(mask_beyond(parameter, parse(text), largest.size, keep))
    return smaller


def _reorder(net: Supernet, model: nn.Module, group: list[Unit], axis: str, seed: int) -> bool:
    """Reorder an axis at random in some units of the largest model; return if anything moved."""
    sizes = {unit.kind.size[axis] for unit in group if axis in unit.kind.size}
    if not sizes:
        return False
    (n,) = sizes
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    if torch.equal(order, torch.arange(n)):
        order = order.flip(0)
    moved = False
    for unit in group:
        part = model.get_submodule(unit.path)
        for name, text in _layouts(net, unit.kind).items():
            parameter = part.get_parameter(name)
            after = permute(parameter.detach(), parse(text), unit.kind.size, axis, order)
            moved = moved or not torch.equal(after, parameter)
            with torch.no_grad():
                parameter.copy_(after)
    return moved

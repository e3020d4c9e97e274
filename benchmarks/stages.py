"""Where the time of a work goes, by torch's profiler: the share of each stage."""

from __future__ import annotations

from collections.abc import Mapping

from torch.profiler import profile

from common import Work

STAGES = {
    "linear layers": ("aten::mm", "aten::addmm"),
    "attention products": ("aten::bmm", "aten::baddbmm", "aten::_scaled_dot_product"),
    "relative position tables": ("aten::index", "aten::_index_put", "aten::embedding"),
    "copies, additions": ("aten::copy_", "aten::add", "aten::mul", "aten::cat", "aten::fill_"),
    "GELU, norms, softmax": ("aten::gelu", "aten::native_layer_norm", "aten::_softmax"),
}


def where(works: Mapping[str, Work]) -> list[tuple[str, ...]]:
    """Return the share of each stage in the original's time, for the original and the supernet."""
    spent = {
        system: profiled(works[system]) for system in ("official", "supernet") if system in works
    }
    whole = sum(next(iter(spent.values())).values())
    rows = [
        (stage, *(f"{100 * found[stage] / whole:.0f}" for found in spent.values()))
        for stage in [*STAGES, "all the rest"]
    ]
    total = tuple(f"{100 * sum(found.values()) / whole:.0f}" for found in spent.values())
    return [("of 100", *spent), *rows, ("whole", *total)]


def profiled(work: Work, repeats: int = 3) -> dict[str, float]:
    """Return the microseconds that each stage takes."""
    for _ in range(repeats):
        work()
    with profile() as recorded:
        for _ in range(repeats):
            work()
    found = dict.fromkeys([*STAGES, "all the rest"], 0.0)
    for event in recorded.key_averages():
        stage = next((s for s, names in STAGES.items() if event.key.startswith(names)), "")
        found[stage or "all the rest"] += event.self_cpu_time_total
    return found

"""How far the latency table is from whole nets: at once, and from nets that are timed afterwards.

The table states its own error, on random architectures that are timed in turn with the units. Here
further ones are timed one by one when the table is done, as `vitnas profile` does it.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from common import arguments, table
from vitnas import cost
from vitnas.cost.conditions import BACKENDS, Settings
from vitnas.cost.table import TableError
from vitnas.search.ranking import spearman
from vitnas.spaces import space

DIGITS: dict[str, Any] = {"num_classes": 10, "img_size": 8, "in_chans": 1}


def row(name: str, settings: Settings, archs: int, repeats: int) -> tuple[str, ...]:
    """Measure a table and further nets of a space, and return what was found."""
    searched = space(name)
    options = DIGITS if name.endswith("digits") else {"num_classes": 1000, "img_size": 224}
    start = time.perf_counter()
    found = cost.latency_table(searched, settings, repeats=repeats, **options)
    took = time.perf_counter() - start
    fields = ("device", "threads", "dtype", "backend", "batch_size")
    how: dict[str, Any] = {name: getattr(settings, name) for name in fields}
    drawn = [searched.sample(1000 + seed) for seed in range(archs)]
    sums = [found(arch) for arch in drawn]
    wholes = [cost.latency(arch, **how, **options, repeats=repeats) for arch in drawn]
    medians = [whole.median for whole in wholes]
    later = TableError.of(sums, medians)
    spread = statistics.median((whole.p95 - whole.p5) / whole.median for whole in wholes)
    return (
        name,
        f"{len(found.rows)} of {found.kinds}",
        f"{took:.0f} s",
        f"{1e3 * min(medians):.4g} to {1e3 * max(medians):.4g}",
        f"{found.error.median:.1%}, {found.error.worst:.1%}, {found.error.bias:+.1%}",
        f"{later.median:.1%}, {later.worst:.1%}, {later.bias:+.1%}",
        f"{spearman(sums, medians):.2f}",
        f"{spread:.0%}",
    )


def main() -> None:
    """Print the errors of tables."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(batch_size=1, repeats=20)
    spaces = ["autoformer-digits", "autoformer-tiny"]
    parser.add_argument("--spaces", nargs="+", default=spaces, help=f"(default: {spaces})")
    parser.add_argument("--archs", type=int, default=10, help="timed afterwards (default: 10)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", choices=BACKENDS, default="eager")
    args = parser.parse_args()
    settings = cost.settings(
        args.device,
        threads=args.threads if args.device == "cpu" else None,
        backend=args.backend,
        batch_size=args.batch_size,
    )
    head = ("space", "kinds", "took", "ms", "in turn", "afterwards", "Spearman", "5 to 95 %")
    rows = [row(name, settings, args.archs, args.repeats) for name in args.spaces]
    print(f"errors of the sum against the whole net: median, worst, bias; {args.repeats} repeats")
    table(f"Latency tables, {settings}", [head, *rows])


if __name__ == "__main__":
    main()

"""What several processes cost in a supernet's training step: gradients exchanged in three ways.

    torchrun --standalone --nproc-per-node 2 benchmarks/ddp.py

`search` looks in each backward for what the subnet did not use (torch's find_unused_parameters);
`ours` knows it by construction; `static` is the largest net by itself, which uses everything. Each
step of the first two trains a random subnet that leaves blocks out, so that there is something to
find; both train the same ones.
"""

from __future__ import annotations

import itertools
import os
import statistics

import torch
from torch import Tensor, distributed
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import vitnas
from common import alternate, arguments, machine, ratios
from vitnas.train.runner import Runner
from vitnas.train.sides import once


def main() -> None:
    """Measure steps, the ways in turn, and print a line for each."""
    parser = arguments(__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--space", default="autoformer-tiny")
    parser.add_argument("--img-size", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    space = vitnas.space(options.space)
    images = torch.randn(options.batch_size, 3, options.img_size, options.img_size)
    labels = torch.randint(0, 100, (options.batch_size,))
    torch.manual_seed(0)
    net = vitnas.Supernet(space, num_classes=100, img_size=options.img_size)
    other = vitnas.Supernet(space, num_classes=100, img_size=options.img_size)
    static = net.extract(space.largest)
    drawn = (space.sample(seed) for seed in itertools.count())
    shallow = (arch for arch in drawn if arch.depth != space.largest.depth)
    archs = list(itertools.islice(shallow, options.repeats + 2))

    ours = Runner(net, exchanged=True)
    wrapped = DistributedDataParallel(ours)
    searching = DistributedDataParallel(Runner(other), find_unused_parameters=True)
    whole = DistributedDataParallel(static)
    turns = {"ours": iter(archs), "search": iter(archs)}

    def run(model: torch.nn.Module, *inputs: object) -> None:
        model.zero_grad(set_to_none=True)
        loss: Tensor = cross_entropy(model(images, *inputs), labels)
        loss.backward()

    def run_search() -> None:
        run(searching, *once(next(turns["search"])))
        assert any(parameter.grad is None for parameter in other.parameters())

    def run_ours() -> None:
        run(wrapped, *once(next(turns["ours"])))
        ours.drop_unused()
        assert any(parameter.grad is None for parameter in net.parameters())

    works = {
        "search": run_search,
        "ours": run_ours,
        "static": lambda: run(whole),
    }
    seconds = alternate(works, options.repeats)
    if distributed.get_rank() == 0:
        print(machine(), f"{distributed.get_world_size()} processes over gloo", sep=", ")
        print(f"{options.space}, {options.batch_size} images of {options.img_size} each")
        for name, each in seconds.items():
            print(f"{name:8}{1000 * statistics.median(each):8.1f} ms a step (median)")
        print(f"search / ours, same subnets: {ratios(seconds['search'], seconds['ours'])}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

"""What Fabric wraps: a model, of which each step runs one subnet or several."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vitnas.train.sides import Run


class Runner(nn.Module):
    """Runs a model, or a subnet of it.

    What is run comes as a function. Fabric would take an architecture apart in search of tensors,
    because it is a mapping.

    With `exchanged`, processes exchange the gradients of all parameters in each step, as
    torch's DistributedDataParallel does. It waits for all of them, and a subnet uses a part. So the
    others are made inputs of the last operation, without a gradient, and arrive first of all. What
    is not used is known by construction and not searched for.
    """

    def __init__(self, model: nn.Module, *, exchanged: bool = False) -> None:
        super().__init__()
        self.model = model
        self._reached: list[nn.Parameter] = []
        self._unused: set[nn.Parameter] = set()
        if exchanged:
            self._reached = [p for p in model.parameters() if p.requires_grad]
            for parameter in self._reached:
                parameter.register_post_accumulate_grad_hook(self._note)

    def forward(self, images: Tensor, run: Run) -> Tensor:
        """Return the logits."""
        logits = run(self.model, images)
        if self._reached and torch.is_grad_enabled():
            reached: Tensor = _Reach.apply(logits, *self._reached)
            return reached
        return logits

    def drop_unused(self) -> None:
        """Take away the gradients of zeros that the exchange gave to what the step didn't use.

        The optimiser then leaves those parameters alone, as it does in a single process.
        """
        for parameter in self._unused:
            parameter.grad = None
        self._unused.clear()

    def _note(self, parameter: Tensor) -> None:
        """Note, before the exchange, whether a parameter has a gradient by now."""
        assert isinstance(parameter, nn.Parameter)
        if parameter.grad is None:
            self._unused.add(parameter)
        else:
            self._unused.discard(parameter)


class _Reach(torch.autograd.Function):
    """The identity of its first input, that has the others as inputs, too."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, *parameters: Tensor) -> Tensor:
        ctx.others = len(parameters)
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*gradients, *[None] * ctx.others)

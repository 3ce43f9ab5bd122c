"""The optimiser and the learning rate of a phase, where they are not those of the stock Trainer.

1. `embedding_rate` puts the input and the output embedding into parameter groups of their own, with that factor on their
   learning rate. The schedule multiplies all groups alike.
2. `coupling` replaces AdamW by `TwinAdamW`: rows of tokens that translate each other share their second moment.
3. A phase that may end early has the schedule of `prealign.methods.goal`.

A phase without these has the optimiser and the schedule of the stock Trainer, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer

from prealign.errors import RecipeError
from prealign.methods.goal import rate_factor
from prealign.methods.phase import Phase

# V rows of an embedding, T of them with twins, D width


class OptimisedTrainer(Trainer):
    """The stock Trainer with the optimiser and the learning rate of a phase."""

    optimizer: Any
    lr_scheduler: Any

    def __init__(self, *args: Any, phase: Phase, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.phase = phase

    def create_optimizer(self, model: Any = None) -> Any:
        """Return the stock optimiser, changed as the phase says. RecipeError if the moments of another are to be coupled."""
        if self.optimizer is not None:
            return self.optimizer
        self.optimizer = super().create_optimizer(model)
        embeddings = embedding_parameters(self.model if model is None else model)
        if self.phase.embedding_rate != 1:
            scale_rates(self.optimizer, embeddings, self.phase.embedding_rate)
        if self.phase.coupling is not None:
            if type(self.optimizer) is not AdamW or self.is_deepspeed_enabled:
                raise RecipeError(
                    "twin_adam couples the second moments of AdamW: remove trainer.optim and trainer.deepspeed, or twin_adam"
                )
            groups = self.phase.coupling.groups
            self.optimizer = TwinAdamW(
                self.optimizer.param_groups, {p: groups(len(p)) for p in embeddings if p.ndim == 2}
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the stock schedule; for a phase that may end early, that of `prealign.methods.goal`.

        Its last step is that of the Trainer's state, which whoever ends the phase moves forward.
        """
        if not self.phase.ends_early:
            return super().create_scheduler(num_training_steps, optimizer)
        warmup = self.args.get_warmup_steps(num_training_steps)
        self.lr_scheduler = LambdaLR(
            optimizer or self.optimizer, lambda step: rate_factor(step, self.state.max_steps, warmup)
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler


def embedding_parameters(model: Any) -> list[nn.Parameter]:
    """Return the trained parameters of the input and the output embedding, tied ones once."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    found = {id(p): p for module in modules if module is not None for p in module.parameters() if p.requires_grad}
    return list(found.values())


def scale_rates(optimizer: Optimizer, parameters: list[nn.Parameter], factor: float) -> None:
    """Multiply the learning rate of some parameters, in place: they get parameter groups of their own."""
    chosen = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        own = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if own:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            optimizer.add_param_group({**group, "params": own, "lr": factor * group["lr"]})


class TwinAdamW(AdamW):
    """AdamW in which rows of one group share their second moment: after each update, v_i is the mean of v over the group.

    groups: group (V,) int of each row, for the parameters (V, D) that are coupled; all others get the stock step. With the
    group mean ⟨·⟩ and the gradient g:

        m = β1 m + (1 − β1) g        v = ⟨β2 v + (1 − β2) g²⟩        w = w (1 − η λ) − η m̂ / (√v̂ + ε)

    The mean is linear, so this v is also the mean of the v that AdamW would have. Equal gradients give equal steps.
    """

    def __init__(self, params: Any, groups: Mapping[nn.Parameter, Any]) -> None:
        super().__init__(params)
        for group in self.param_groups:
            group["fused"] = None  # a fused step would also unscale gradients of fp16, which `_update` does not see
        self._twins = {parameter: twin_rows(torch.as_tensor(numbers)) for parameter, numbers in groups.items()}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take a step."""
        coupled = [(p, p.grad, group) for group in self.param_groups for p in group["params"] if p in self._twins]
        for parameter, _, _ in coupled:
            parameter.grad = None  # the stock step passes it over
        result = super().step(closure)
        for parameter, gradient, group in coupled:
            parameter.grad = gradient
            if gradient is not None:
                self._update(parameter, gradient, group)
        return result

    def _update(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            state |= {"step": torch.zeros(()), **zeros}
        state["step"] += 1
        step, moment, square = float(state["step"]), state["exp_avg"], state["exp_avg_sq"]
        moment.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        rows, numbers = (one.to(square.device) for one in self._twins[parameter])
        square[rows] = group_means(square[rows], numbers)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        root = square.sqrt().div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        parameter.addcdiv_(moment, root, value=-group["lr"] / (1 - beta1**step))


def twin_rows(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows (T,) that share their group (V,) with another row, and the numbers (T,) of their groups, from 0."""
    _, number, size = groups.unique(return_inverse=True, return_counts=True)
    rows = (size[number] > 1).nonzero()[:, 0]
    return rows, number[rows].unique(return_inverse=True)[1]


def group_means(rows: Tensor, groups: Tensor) -> Tensor:
    """Return for each row (T, D) the mean of the rows of its group. groups (T,): numbers below T."""
    sums = torch.zeros_like(rows).index_add_(0, groups, rows)
    counts = torch.bincount(groups, minlength=len(rows)).clamp(min=1)
    return (sums / counts[:, None].to(rows.dtype)).index_select(0, groups)

"""Optimizer steps of a tuning run: the protocol, and an implementation in plain PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.errors import StoreError
from hnlm_ray.training.checkpoint import MOMENTS, STEP
from hnlm_ray.training.collectives import sum_over_workers, world_size

__all__ = ["Stepper", "TorchStepper", "check", "trainable"]


class Stepper(Protocol):
    """Holds the encoder, the gradients of its trained parameters, and the optimizer."""

    @property
    def module(self) -> nn.Module:
        """The encoder, or a wrapper that takes the same arguments."""
        ...

    def accumulate(self, loss: torch.Tensor, *, is_last: bool, learning_rate: float) -> None:
        """Add the gradient of one part of a batch, and make the step after the last part.

        Args:
            loss: mean over the part; the step uses the mean over parts and workers.
            is_last: whether the batch is complete.
            learning_rate: of the step.
        """
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """Trained parameters by name, their moments and the step, undivided, float32, on the CPU.

        All workers must call it.
        """
        ...

    def weights(self) -> dict[str, torch.Tensor]:
        """The trained parameters alone, otherwise like :meth:`tensors`."""
        ...

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from :meth:`tensors` of any stepper on any number of workers; all workers must call it.

        Raises:
            StoreError: they belong to another model.
        """
        ...


class TorchStepper:
    """AdamW, with gradients averaged over the workers by one all-reduce."""

    def __init__(self, module: nn.Module, options: TuneConfig, device: torch.device) -> None:
        self.module = module.to(device)
        self._options = options
        self._device = device
        self._weights = trainable(module)
        self.optimizer = torch.optim.AdamW(
            self._weights.values(), lr=options.learning_rate, weight_decay=options.weight_decay
        )

    def accumulate(self, loss: torch.Tensor, *, is_last: bool, learning_rate: float) -> None:
        """See :class:`Stepper`."""
        (loss / self._options.accumulation).backward()  # type: ignore[no-untyped-call]
        if not is_last:
            return
        if world_size() > 1:
            gradients = [weight.grad for weight in self._weights.values() if weight.grad is not None]
            summed = sum_over_workers(nn.utils.parameters_to_vector(gradients)) / world_size()
            nn.utils.vector_to_parameters(summed, gradients)
        nn.utils.clip_grad_norm_(self._weights.values(), self._options.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """See :class:`Stepper`."""
        found = self.weights()
        for name, weight in self._weights.items():
            state = self.optimizer.state[weight]
            found |= {f"{name}.{moment}": state[moment].float().cpu().clone() for moment in MOMENTS}
            found[STEP] = torch.as_tensor(state[STEP], dtype=torch.float32).cpu().clone()
        return found

    def weights(self) -> dict[str, torch.Tensor]:
        """See :class:`Stepper`."""
        return {name: weight.detach().float().cpu().clone() for name, weight in self._weights.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """See :class:`Stepper`."""
        check(self._weights, tensors)
        for name, weight in self._weights.items():
            with torch.no_grad():
                weight.copy_(tensors[name])
            moments = {moment: tensors[f"{name}.{moment}"].to(self._device, copy=True) for moment in MOMENTS}
            self.optimizer.state[weight] = {STEP: tensors[STEP].clone(), **moments}


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters of a module, by name."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def check(weights: Mapping[str, nn.Parameter], tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors of another model.

    Raises:
        StoreError: a weight is missing or has another shape.
    """
    for name, weight in weights.items():
        shape = getattr(weight, "ds_shape", weight.shape)  # ZeRO 3 leaves an empty weight behind
        if name not in tensors or tensors[name].shape != shape:
            raise StoreError(f"the checkpoint's {name} belongs to another model", "delete it")

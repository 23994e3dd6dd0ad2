"""Optimizer steps by DeepSpeed: ZeRO stages 0 to 3, on CPUs with gloo and on GPUs.

Checkpoints are not DeepSpeed's own, which are pickles divided over a fixed number of workers: parameters and moments
are gathered and written as safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.training.checkpoint import MOMENTS, STEP
from hnlm_ray.training.collectives import rank, world_size
from hnlm_ray.tuning.stepper import check, trainable
from hnlm_ray.tuning.tokens import TokenRows

__all__ = ["DeepSpeedStepper"]


class DeepSpeedStepper:
    """A stepper around ``deepspeed.initialize``; needs ``torch.distributed`` to be initialised."""

    def __init__(self, module: nn.Module, options: TuneConfig) -> None:
        import deepspeed

        weights = trainable(module)
        self._zero = options.zero_stage
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=module, model_parameters=list(weights.values()), config=_config(options), dist_init_required=False
        )
        self._weights = trainable(self._engine.module)
        self._steps = 0

    @property
    def module(self) -> nn.Module:
        """The engine, which gathers divided parameters when it is called."""
        engine: nn.Module = self._engine
        return engine

    def accumulate(self, loss: torch.Tensor, *, is_last: bool, learning_rate: float) -> None:
        """See :class:`hnlm_ray.tuning.stepper.Stepper`."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.backward(loss)
        self._engine.step()
        self._steps += is_last

    def tensors(self) -> dict[str, torch.Tensor]:
        """See :class:`hnlm_ray.tuning.stepper.Stepper`."""
        found = self.weights()
        for name, weight in self._weights.items():
            found |= {f"{name}.{moment}": _whole(self._moment(weight, moment)) for moment in MOMENTS}
        found[STEP] = torch.tensor(float(self._steps))
        return found

    def weights(self) -> dict[str, torch.Tensor]:
        """See :class:`hnlm_ray.tuning.stepper.Stepper`."""
        from deepspeed.utils import safe_get_full_fp32_param

        weights = self._weights.items()
        return {name: _whole(safe_get_full_fp32_param(one) if self._zero else one) for name, one in weights}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """See :class:`hnlm_ray.tuning.stepper.Stepper`."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        check(self._weights, tensors)
        self._make_state()
        self._set_working_copies(tensors)
        for name, weight in self._weights.items():
            moments = {moment: tensors[f"{name}.{moment}"].to(weight.device) for moment in MOMENTS}
            if self._zero == 0:
                self._optimizer.state[weight].update(moments)
                continue
            safe_set_full_fp32_param(weight, tensors[name].to(weight.device))
            for moment, values in moments.items():
                safe_set_full_optimizer_state(weight, values, moment)
        self._steps = int(tensors[STEP])
        # State per parameter, or per flat partition, of the optimizer that ZeRO wraps.
        for state in getattr(self._optimizer, "optimizer", self._optimizer).state.values():
            state[STEP] = torch.full_like(torch.as_tensor(state[STEP]), float(self._steps))

    @torch.no_grad()
    def _set_working_copies(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the parameters that the forward pass reads; ZeRO keeps a second copy of them in the optimizer."""
        import deepspeed

        weights = list(self._weights.values())
        with deepspeed.zero.GatheredParameters(weights, modifier_rank=0, enabled=self._zero == 3):
            if self._zero < 3 or rank() == 0:
                for name, weight in self._weights.items():
                    weight.copy_(tensors[name])

    def _moment(self, weight: nn.Parameter, moment: str) -> torch.Tensor | None:
        from deepspeed.utils import safe_get_full_optimizer_state

        if self._zero == 0:
            state: torch.Tensor = self._optimizer.state[weight][moment]
            return state
        found: torch.Tensor | None = safe_get_full_optimizer_state(weight, moment)
        return found

    def _make_state(self) -> None:
        """Create the optimizer's state by a step with a zero gradient and a learning rate of 0."""
        encoder, device = self._engine.module, self._engine.device
        zeros = torch.zeros(1, encoder.user_projection.in_features, device=device)
        word, first = TokenRows(np.zeros(1, np.int32), np.array([0, 1])), np.zeros(1, np.int64)
        inputs = [tensor.to(device) for tensor in encoder.inputs(word, word, first, first).tensors]
        for group in self._optimizer.param_groups:
            group["lr"] = 0.0
        for _ in range(self._engine.gradient_accumulation_steps()):
            self._engine.backward(self._engine(*inputs, zeros, zeros).sum() * 0.0)
            self._engine.step()


def _config(options: TuneConfig) -> dict[str, Any]:
    return {
        "train_batch_size": options.batch_size,
        "train_micro_batch_size_per_gpu": options.batch_size // (options.accumulation * world_size()),
        "gradient_accumulation_steps": options.accumulation,
        "gradient_clipping": options.clip,
        "zero_optimization": {"stage": options.zero_stage},
        "bf16": {"enabled": options.dtype == "bfloat16"},
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": options.learning_rate, "weight_decay": options.weight_decay, "torch_adam": True},
        },
        "steps_per_print": 2**31,
    }


def _whole(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None, "the optimizer has made no step"
    return tensor.detach().float().cpu().clone()

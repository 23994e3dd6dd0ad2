"""Options of where work runs that several sections share: those of engines, and those of the workers of a fit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hnlm_ray.config.section import Positive, Section
from hnlm_ray.config.weights import EngineKwargs

__all__ = ["EngineOptions", "WorkerOptions"]


class EngineOptions(Section):
    """The replicas of an engine."""

    replicas: Positive = 1
    """Engines that work side by side."""
    accelerator: Literal["cpu", "gpu"] = "cpu"
    """What an engine runs on."""
    cpu_kv_cache_gib: Positive = 1
    """Memory of one engine's key-value cache on a CPU."""
    cpu_threads: Positive = 2
    """Threads of one engine on a CPU."""
    engine_kwargs: EngineKwargs = Field(default_factory=dict)
    """Further vLLM engine arguments, passed as they are."""


class WorkerOptions(Section):
    """The workers that one fit is divided over."""

    accelerator: Literal["cpu", "gpu"] = "cpu"
    """What a worker runs on."""
    max_failures: int = Field(default=1, ge=0)
    """Restarts from the last checkpoint after a lost worker."""

    @property
    def needs(self) -> dict[str, float]:
        """The resources of Ray that one worker holds."""
        return {"CPU": 1.0, "GPU": 1.0} if self.accelerator == "gpu" else {"CPU": 1.0}

"""From the options of a sampler to the sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnlm_ray.config.samplers import (
    AHNSOptions,
    DENSOptions,
    DNSOptions,
    InBatchOptions,
    MixGCFOptions,
    PopularitySamplerOptions,
    Sampler,
    SoftmaxImportanceOptions,
    UniformOptions,
)
from hnlm_ray.samplers.ahns import AHNSSampler
from hnlm_ray.samplers.dens import DENSSampler
from hnlm_ray.samplers.dns import DNSSampler
from hnlm_ray.samplers.in_batch import InBatchSampler
from hnlm_ray.samplers.mixgcf import MixGCFSampler
from hnlm_ray.samplers.popularity import PopularitySampler
from hnlm_ray.samplers.protocol import NegativeSampler, Setting
from hnlm_ray.samplers.softmax_importance import SoftmaxImportanceSampler
from hnlm_ray.samplers.uniform import UniformSampler

__all__ = ["SAMPLERS", "build_sampler"]

SAMPLERS: Mapping[type, type[Any]] = {
    UniformOptions: UniformSampler,
    PopularitySamplerOptions: PopularitySampler,
    InBatchOptions: InBatchSampler,
    DNSOptions: DNSSampler,
    SoftmaxImportanceOptions: SoftmaxImportanceSampler,
    MixGCFOptions: MixGCFSampler,
    DENSOptions: DENSSampler,
    AHNSOptions: AHNSSampler,
}
"""The class of each section; all are made with ``(options, setting)``."""


def build_sampler(options: Sampler, setting: Setting) -> NegativeSampler:
    """The sampler that these options name."""
    sampler: NegativeSampler = SAMPLERS[type(options)](options, setting)
    return sampler

"""From the options of a sampler to the sampler."""

from __future__ import annotations

import pkgutil

from hnlm_ray.config.samplers import Sampler
from hnlm_ray.samplers.protocol import NegativeSampler, Setting

__all__ = ["build_sampler"]


def build_sampler(options: Sampler, setting: Setting) -> NegativeSampler:
    """The sampler that these options name."""
    sampler: NegativeSampler = pkgutil.resolve_name(options.implementation)(options, setting)
    return sampler

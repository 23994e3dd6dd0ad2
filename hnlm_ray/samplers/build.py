"""From the options of a sampler to the sampler."""

from __future__ import annotations

import pkgutil

from hnlm_ray.config.plugins import made
from hnlm_ray.config.samplers import CustomSamplerOptions, Sampler
from hnlm_ray.samplers.protocol import NegativeSampler, Setting

__all__ = ["build_sampler"]


def build_sampler(options: Sampler, setting: Setting) -> NegativeSampler:
    """The sampler that these options name.

    Raises:
        ConfigError: a sampler of one's own cannot be loaded, or does not take its options.
    """
    if isinstance(options, CustomSamplerOptions):
        own: NegativeSampler = made(options, "sampler", setting)
        return own
    sampler: NegativeSampler = pkgutil.resolve_name(options.implementation)(options, setting)
    return sampler

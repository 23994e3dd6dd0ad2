"""From the options of a backbone to the backbone."""

from __future__ import annotations

import pkgutil

from hnlm_ray.config.backbones import Backbone as Options
from hnlm_ray.config.backbones import CustomBackboneOptions
from hnlm_ray.config.plugins import made
from hnlm_ray.models.protocol import Backbone, Graph

__all__ = ["build_backbone"]


def build_backbone(options: Options, graph: Graph, dim: int, seed: int) -> Backbone:
    """The backbone that these options name, an ``nn.Module``.

    Args:
        options: of a backbone that is trained.
        graph: of the train interactions.
        dim: of the embeddings.
        seed: of the fit.

    Raises:
        ValueError: the backbone is computed in closed form.
        ConfigError: a backbone of one's own cannot be loaded, or does not take its options.
    """
    if isinstance(options, CustomBackboneOptions):
        own: Backbone = made(options, "backbone", graph, dim, seed)
        return own
    if not options.is_trained:
        raise ValueError(f"{options.name} is not trained")
    backbone: Backbone = pkgutil.resolve_name(options.implementation)(options, graph, dim, seed)
    return backbone

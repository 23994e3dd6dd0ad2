"""From the options of a backbone to the backbone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from hnlm_ray.config.backbones import (
    Backbone,
    DirectAUOptions,
    LightGCNOptions,
    MFOptions,
    NGCFOptions,
    SGLOptions,
    SimGCLOptions,
    XSimGCLOptions,
)
from hnlm_ray.models.directau import DirectAU
from hnlm_ray.models.lightgcn import LightGCN
from hnlm_ray.models.mf import MatrixFactorisation
from hnlm_ray.models.ngcf import NGCF
from hnlm_ray.models.protocol import Graph
from hnlm_ray.models.sgl import SGL
from hnlm_ray.models.simgcl import SimGCL
from hnlm_ray.models.xsimgcl import XSimGCL

__all__ = ["BACKBONES", "build_backbone", "final_dim"]

BACKBONES: Mapping[type, type[nn.Module]] = {
    MFOptions: MatrixFactorisation,
    LightGCNOptions: LightGCN,
    NGCFOptions: NGCF,
    SGLOptions: SGL,
    SimGCLOptions: SimGCL,
    XSimGCLOptions: XSimGCL,
    DirectAUOptions: DirectAU,
}
"""The class of each section that is trained; all are made with ``(options, graph, dim, seed)``."""


def build_backbone(options: Backbone, graph: Graph, dim: int, seed: int) -> nn.Module:
    """The backbone that these options name, a :class:`hnlm_ray.models.protocol.Backbone`.

    Args:
        options: of a backbone that is trained.
        graph: of the train interactions.
        dim: of the embeddings.
        seed: of the fit.

    Raises:
        ValueError: the backbone is computed in closed form.
    """
    if type(options) not in BACKBONES:
        raise ValueError(f"{options.name} is not trained")
    return BACKBONES[type(options)](options, graph, dim, seed)


def final_dim(options: Backbone, dim: int) -> int:
    """The dimension of the final vectors."""
    return dim * (options.layers + 1) if isinstance(options, NGCFOptions) else dim

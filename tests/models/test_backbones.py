"""Every shipped backbone passes the suite that is there for one's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hnlm_ray.config.backbones import (
    Backbone as Options,
)
from hnlm_ray.config.backbones import (
    DirectAUOptions,
    EASEOptions,
    LightGCNOptions,
    MFOptions,
    NGCFOptions,
    SASRecOptions,
    SGLOptions,
    SimGCLOptions,
    XSimGCLOptions,
)
from hnlm_ray.config.section import kinds
from hnlm_ray.models.build import build_backbone
from hnlm_ray.models.protocol import Backbone, Draw, Encoding, Graph
from hnlm_ray.testing.backbones import (
    BACKBONE_CHECKS,
    DenseGraph,
    MakeBackbone,
    check_evaluation,
    check_gradients,
    check_parameters,
    check_training,
    first_layer,
    lonely_world,
)

OPTIONS: list[Options] = [
    MFOptions(),
    LightGCNOptions(layers=1),
    LightGCNOptions(),
    NGCFOptions(),
    NGCFOptions(layers=2, dropout=0.0),
    SGLOptions(),
    SGLOptions(layers=1, drop=0.7),
    SimGCLOptions(),
    XSimGCLOptions(),
    XSimGCLOptions(contrast_layer=3),
    DirectAUOptions(),
    DirectAUOptions(layers=2),
    SASRecOptions(),
    SASRecOptions(length=2, blocks=1, heads=2),
]


def test_every_backbone_is_here() -> None:
    assert {type(options) for options in OPTIONS} == {kind for kind in kinds(Options).values() if kind.is_trained}


# No embedding of a user is read by a backbone that reads histories.
CHECKS = [
    (one, check)
    for one in OPTIONS
    for check in BACKBONE_CHECKS
    if not (one.is_sequential and check is check_parameters)
]


@pytest.mark.parametrize(("options", "check"), CHECKS, ids=lambda part: getattr(part, "__name__", str(part)))
def test_a_backbone_does_what_every_backbone_must(options: Options, check: Callable[[MakeBackbone], None]) -> None:
    check(lambda graph, dim, seed: build_backbone(options, graph, dim, seed))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_final_vectors_are_as_long_as_stated(options: Options) -> None:
    train = lonely_world()
    backbone = build_backbone(options, DenseGraph(train), 6, 0)
    assert isinstance(backbone, nn.Module)
    backbone.double()
    users, items = backbone.encode(*first_layer(train, dtype=torch.float64)).final
    assert users.shape[1] == items.shape[1] == options.final_dim(6)


@pytest.mark.parametrize(
    "options", [SGLOptions(), SimGCLOptions(), XSimGCLOptions(), NGCFOptions(), SASRecOptions()], ids=str
)
def test_what_is_drawn_changes_with_seed_and_epoch(options: Options) -> None:
    train = lonely_world()
    users, items = first_layer(train, dtype=torch.float64)

    def trained(seed: int, draw: Draw) -> torch.Tensor:
        module = build_backbone(options, DenseGraph(train), 6, seed)
        assert isinstance(module, nn.Module)
        module.double()
        encoding = module.encode(users, items, draw)
        return encoding.final[0] if encoding.views is None else encoding.views[1][0]

    first = trained(0, Draw(1, 0))
    assert not torch.equal(first, trained(0, Draw(2, 0)))
    assert not torch.equal(first, trained(1, Draw(1, 0)))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_layers_and_views_are_given_as_the_options_declare(options: Options) -> None:
    train = lonely_world()
    backbone, tables = build_backbone(options, DenseGraph(train), 6, 0), first_layer(train, dtype=torch.float64)
    assert isinstance(backbone, nn.Module)
    backbone.double()
    assert (backbone.encode(*tables, Draw(1, 0)).views is not None) == (options.contrast is not None)
    if options.gives_layers:
        assert backbone.encode(*tables, layers=True).layers
    else:
        with pytest.raises(ValueError, match="layers"):
            backbone.encode(*tables, layers=True)


def test_baselines_are_not_trained() -> None:
    with pytest.raises(ValueError, match="ease is not trained"):
        build_backbone(EASEOptions(), DenseGraph(lonely_world()), 6, 0)


class Restless(nn.Module):
    """Draws from the global generator, in evaluation too."""

    def __init__(self, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        return Encoding((users + torch.randn_like(users), items))


class Idle(Restless):
    """Has a weight that nothing depends on."""

    def __init__(self, graph: Graph, dim: int, seed: int) -> None:
        super().__init__(graph, dim, seed)
        self.idle = nn.Parameter(torch.ones(dim))

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        return Encoding((users + 0.0 * self.idle, items))


class Truncated(Idle):
    """Its gradient is not that of its values, over one of the graphs."""

    def __init__(self, graph: Graph, dim: int, seed: int) -> None:
        super().__init__(graph, dim, seed)
        self._is_dense = isinstance(graph, DenseGraph)

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        half = items / 2
        return Encoding((users * self.idle, half + (half if self._is_dense else half.detach())))


@pytest.mark.parametrize(
    ("check", "backbone"),
    [(check_evaluation, Restless), (check_training, Restless), (check_parameters, Idle), (check_gradients, Truncated)],
)
def test_the_suite_finds_the_faults_it_is_for(check: Callable[[MakeBackbone], None], backbone: type[Backbone]) -> None:
    with pytest.raises(AssertionError):
        check(backbone)  # type: ignore[arg-type]

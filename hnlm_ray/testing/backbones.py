"""Conformance checks for backbones: functions that a test calls with a factory of the backbone.

Check a backbone of your own like the shipped ones::

    @pytest.mark.parametrize("check", BACKBONE_CHECKS)
    def test_my_backbone(check):
        check(lambda graph, dim, seed: MyBackbone(graph, dim, seed))

The checks use interactions with a user without items and an item without users. Backbones that read histories pass all
but :func:`check_parameters`, as no embedding of a user is read; :mod:`hnlm_ray.testing.sequences` has more for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hnlm_ray import seeds
from hnlm_ray.data.histories import Histories
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.rows import rows_of
from hnlm_ray.models.protocol import Backbone, Draw, Encoding, Graph, Layer, Perturb
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.graph import InteractionGraph

__all__ = [
    "BACKBONE_CHECKS",
    "DenseGraph",
    "MakeBackbone",
    "check_encoding",
    "check_evaluation",
    "check_gradients",
    "check_layers",
    "check_parameters",
    "check_training",
    "check_wanted_rows",
    "first_layer",
    "lonely_world",
    "normalised_adjacency",
    "shuffled_histories",
]

MakeBackbone = Callable[[Graph, int, int], nn.Module]
"""Makes the backbone under test from a graph, a dimension and a seed."""

_DIM = 6
_DRAW = Draw(epoch=2, step=3)


def lonely_world() -> Interactions:
    """Interactions of 12 users and 9 items; the last user and the last item have none."""
    train, _ = random_world(11, 8, 0.3, 4)
    return Interactions.from_pairs(train.users, train.items, 12, 9)


def shuffled_histories(train: Interactions, seed: int = 0) -> Histories:
    """The interactions as histories in a random order."""
    order = np.lexsort((np.random.default_rng(seed).random(len(train)), train.users))
    return Histories(train.offsets, train.items[order])


def first_layer(train: Interactions, dim: int = _DIM, dtype: torch.dtype = torch.float32) -> Layer:
    """Embeddings (U, dim) and (I, dim) that require gradients."""
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(size, dim, generator=generator) for size in (train.n_users, train.n_items))
    return users.to(dtype).requires_grad_(), items.to(dtype).requires_grad_()


def normalised_adjacency(train: Interactions) -> npt.NDArray[np.float64]:
    """``D^-1/2 A D^-1/2`` as a dense matrix over users and then items; rows of nodes without edges are 0."""
    n_users, n_items = train.n_users, train.n_items
    edges = np.zeros((n_users, n_items))
    edges[train.users, train.items] = 1.0
    adjacency = np.block([[np.zeros((n_users, n_users)), edges], [edges.T, np.zeros((n_items, n_items))]])
    degrees = adjacency.sum(axis=1)
    scale = np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    product: npt.NDArray[np.float64] = scale[:, None] * adjacency * scale[None, :]
    return product


class DenseGraph:
    """:class:`hnlm_ray.models.protocol.Graph` as plain float64 matrices, differentiated by PyTorch alone."""

    first_user = 0

    def __init__(self, train: Interactions) -> None:
        """Lay the matrix out."""
        self.train = train
        self.histories: Histories | None = shuffled_histories(train)
        self._matrix = torch.from_numpy(normalised_adjacency(train))

    def propagate(
        self,
        users: torch.Tensor,
        items: torch.Tensor,
        weights: Sequence[Sequence[float]],
        perturb: Perturb | None = None,
        only: torch.Tensor | None = None,
    ) -> list[Layer]:
        """See :meth:`hnlm_ray.models.protocol.Graph.propagate`."""
        cut = self.train.n_users
        rows = [torch.cat([users, items])]
        for hop in range(1, len(weights[0])):
            moved = self._matrix @ rows[-1]
            rows.append(moved if perturb is None else torch.cat(perturb(hop, (moved[:cut], moved[cut:]))))
        sums = [
            torch.stack([share * layer for share, layer in zip(shares, rows, strict=True)]).sum(dim=0)
            for shares in weights
        ]
        return [(total[:cut], total[cut:]) for total in sums]

    def thinned(self, drop: float, seed: int, purpose: tuple[str | int, ...]) -> DenseGraph:
        """See :meth:`hnlm_ray.models.protocol.Graph.thinned`: an edge is kept if its number is at least ``drop``."""
        words = seeds.hash_counters(seeds.derive(seed, *purpose), self.train.keys)
        kept = (words >> np.uint64(11)) / 2.0**53 >= drop
        pairs = self.train.users[kept], self.train.items[kept]
        return DenseGraph(Interactions.from_pairs(*pairs, self.train.n_users, self.train.n_items))

    def shared(self, weight: torch.Tensor) -> torch.Tensor:
        """See :meth:`hnlm_ray.models.protocol.Graph.shared`; there is one worker."""
        return weight

    def replicated(self, items: torch.Tensor) -> torch.Tensor:
        """See :meth:`hnlm_ray.models.protocol.Graph.replicated`; there is one worker."""
        return items


def check_encoding(make: MakeBackbone) -> None:
    """Every user and item has a finite vector, even without interactions; users and items have the same dimension."""
    train, backbone = lonely_world(), _made(make)
    for draw in (None, _DRAW):
        encoding = backbone.encode(*first_layer(train), draw)
        for users, items in (encoding.final, *(encoding.views or ())):
            assert len(users) == train.n_users
            assert len(items) == train.n_items
            assert users.shape[1] == items.shape[1]
            assert users.isfinite().all()
            assert items.isfinite().all()
        assert draw is not None or encoding.views is None, "views are for training"


def check_layers(make: MakeBackbone) -> None:
    """Layers have the final vectors as their mean, or are refused by a ValueError; unrequested there are none."""
    users, items = first_layer(lonely_world())
    backbone = _made(make)
    assert not backbone.encode(users, items, _DRAW).layers
    try:
        encoding = backbone.encode(users, items, _DRAW, layers=True)
    except ValueError:
        return
    assert encoding.layers
    for side, final in enumerate(encoding.final):
        mean = torch.stack([layer[side] for layer in encoding.layers]).mean(dim=0)
        torch.testing.assert_close(final, mean, rtol=1e-4, atol=1e-5)


def check_evaluation(make: MakeBackbone) -> None:
    """The vectors that rank are not random, and training in between does not change them."""
    users, items = first_layer(lonely_world())
    backbone = _made(make)
    before = _tables(backbone.encode(users, items))
    state = torch.get_rng_state()
    backbone.encode(users, items, _DRAW)
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"
    for table, again in zip(before, _tables(backbone.encode(users, items)), strict=True):
        assert torch.equal(table, again), "evaluation is random, or training leaves a trace"


def check_training(make: MakeBackbone) -> None:
    """A pass of training depends only on the seed and the draw."""
    users, items = first_layer(lonely_world())
    backbone = _made(make)
    first = _tables(backbone.encode(users, items, _DRAW))
    backbone.encode(users, items, Draw(epoch=5, step=0))
    for other in (backbone, _made(make)):
        for table, again in zip(first, _tables(other.encode(users, items, _DRAW)), strict=True):
            assert torch.equal(table, again), "the same draw gives other vectors"


def check_gradients(make: MakeBackbone) -> None:
    """Values and gradients on the sharded graph agree with those on dense matrices in float64."""
    train = lonely_world()
    graphs: list[Graph] = [_sparse(train), DenseGraph(train)]
    found: list[list[torch.Tensor]] = []
    for graph, dtype in zip(graphs, (torch.float32, torch.float64), strict=True):
        tables, gradients = _pass(make(graph, _DIM, 1).to(dtype), first_layer(train, dtype=dtype))
        found.append([*tables, *gradients])
    for sparse, dense in zip(*found, strict=True):
        torch.testing.assert_close(sparse.double(), dense, rtol=1e-3, atol=1e-4)


def check_wanted_rows(make: MakeBackbone) -> None:
    """If a draw names the users it will read, their rows and the gradients of these rows are as without."""
    train = lonely_world()
    wanted = torch.tensor([7, 2, 2, 9])
    found: list[list[torch.Tensor]] = []
    for draw in (_DRAW, replace(_DRAW, users=wanted)):
        read, gradients = _pass(make(_sparse(train), _DIM, 1), first_layer(train), draw, wanted)
        found.append([*read, *gradients])
    for whole, part in zip(*found, strict=True):
        torch.testing.assert_close(part.to_dense(), whole.to_dense(), rtol=1e-4, atol=1e-5)


def check_parameters(make: MakeBackbone) -> None:
    """A finite gradient reaches every embedding that has interactions, and every parameter."""
    train = lonely_world()
    module = make(_sparse(train), _DIM, 1)
    names = ["users", "items", *(name for name, _ in module.named_parameters())]
    _, gradients = _pass(module, first_layer(train))
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
        assert gradient.any(), f"no gradient reaches {name}"
    assert (gradients[0][:-1] != 0).any(dim=1).all(), "no gradient reaches some users"


BACKBONE_CHECKS: tuple[Callable[[MakeBackbone], None], ...] = (
    check_encoding,
    check_layers,
    check_evaluation,
    check_training,
    check_gradients,
    check_wanted_rows,
    check_parameters,
)
"""All of them."""


def _sparse(train: Interactions) -> InteractionGraph:
    return InteractionGraph(train, 0, train.item_popularity, torch.device("cpu"), shuffled_histories(train))


def _made(make: MakeBackbone) -> Backbone:
    return cast("Backbone", make(_sparse(lonely_world()), _DIM, 1))


def _tables(encoding: Encoding) -> list[torch.Tensor]:
    return [table for layer in (encoding.final, *(encoding.views or ())) for table in layer]


def _pass(
    module: nn.Module, rows: Layer, draw: Draw = _DRAW, wanted: torch.Tensor | None = None
) -> tuple[list[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Tables of a pass, of users only the wanted rows, and gradients of an objective over them.

    The gradients are those of users, items and every parameter.
    """
    tables = _tables(cast("Backbone", module).encode(*rows, draw))
    if wanted is not None:
        tables = [rows_of(table, wanted) if len(table) == len(rows[0]) else table for table in tables]
    return tables, torch.autograd.grad(
        _objective(tables), [*rows, *module.parameters()], allow_unused=True, materialize_grads=True
    )


def _objective(tables: Sequence[torch.Tensor]) -> torch.Tensor:
    """A scalar whose gradient is different in every entry."""
    generator = torch.Generator().manual_seed(7)
    factors = [torch.randn(table.shape, generator=generator) for table in tables]
    return torch.stack([(table.square() * f + table).sum() for table, f in zip(tables, factors, strict=True)]).sum()

"""SASRec passes the suite for backbones that read histories, and the suite finds the faults it is for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from hnlm_ray.config.backbones import SASRecOptions
from hnlm_ray.data.histories import Histories
from hnlm_ray.models.protocol import Draw, Encoding, Graph
from hnlm_ray.models.sasrec import SASRec
from hnlm_ray.models.windows import latest_windows, windows_before
from hnlm_ray.testing.backbones import DenseGraph, MakeBackbone, first_layer, lonely_world, shuffled_histories
from hnlm_ray.testing.sequences import (
    SEQUENCE_CHECKS,
    check_division,
    check_empty,
    check_future,
    check_order,
    check_padding,
)

OPTIONS = [SASRecOptions(), SASRecOptions(blocks=1, heads=2, dropout=0.5), SASRecOptions(length=3)]


@pytest.mark.parametrize("check", SEQUENCE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_does_what_backbones_of_histories_must(
    options: SASRecOptions, check: Callable[[MakeBackbone], None]
) -> None:
    check(lambda graph, dim, seed: SASRec(options, graph, dim, seed))


class Faulty(nn.Module):
    """The mean of the items of a user, whenever they come, beside those of a user whose number is shifted."""

    def __init__(self, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        assert graph.histories is not None
        self._histories, self._graph = graph.histories, graph

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        assert draw is not None
        assert draw.targets is not None
        rows = self.latest(self._histories, items) + len(draw.targets) + 10 * self._graph.first_user
        return Encoding((items[:0], items), of_pairs=rows[self._histories.users[draw.targets].astype(np.int64)])

    def latest(self, histories: Histories, items: torch.Tensor, draw: Draw | None = None) -> torch.Tensor:
        total = torch.zeros(histories.n_users, items.shape[1])
        return total.index_add(0, torch.from_numpy(histories.users).long(), items[histories.items]) + 1.0


@pytest.mark.parametrize("check", [check_future, check_order, check_padding, check_division, check_empty])
def test_the_suite_finds_the_faults_it_is_for(check: Callable[[MakeBackbone], None]) -> None:
    with pytest.raises(AssertionError):
        check(Faulty)


def test_every_parameter_gets_a_gradient_from_the_users_before_their_pairs() -> None:
    train = lonely_world()
    graph = DenseGraph(train)
    assert graph.histories is not None
    backbone = SASRec(SASRecOptions(length=4), graph, 6, 0)
    targets = np.sort(graph.histories.offsets[1:][train.degree > 2] - 1)
    users, items = first_layer(train)
    states = backbone.encode(users, items, Draw(1, 0, targets=targets)).of_pairs
    assert states is not None
    factors = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad((states * factors).sum(), [items, *backbone.parameters()])
    names = ["items", *(name for name, _ in backbone.named_parameters())]
    without = [name for name, gradient in zip(names, gradients, strict=True) if not gradient.any()]
    assert all(name.endswith("key.bias") for name in without)  # it moves all weights of a softmax alike


def test_a_window_ends_before_the_latest_item_in_training_and_with_it_afterwards() -> None:
    histories = Histories(np.array([0, 5, 5, 7]), np.array([10, 11, 12, 13, 14, 20, 21], np.int32))
    windows = windows_before(histories, np.array([4, 2, 3, 6]), 3)
    assert windows.items.tolist() == [[11, 12, 13], [20, 0, 0]]
    assert windows.positions.tolist() == [[0, 1, 2], [2, 2, 2]]
    assert windows.items.ravel()[windows.chosen].tolist() == [13, 11, 12, 20]
    windows = latest_windows(histories, 0, 3, 3)
    assert windows.users.tolist() == [0, 2]
    assert windows.items.tolist() == [[12, 13, 14], [20, 21, 0]]
    assert windows.positions.tolist() == [[0, 1, 2], [1, 2, 2]]
    assert windows.items.ravel()[windows.chosen].tolist() == [14, 21]


@pytest.mark.parametrize("heads", [1, 2])
def test_a_worker_without_a_pair_in_a_batch_takes_part_all_the_same(heads: int) -> None:
    backbone = SASRec(SASRecOptions(heads=heads), DenseGraph(lonely_world()), 6, 0)
    users, items = first_layer(lonely_world())
    states = backbone.encode(users, items, Draw(1, 0, targets=np.empty(0, np.int64))).of_pairs
    assert states is not None
    assert states.shape == (0, 6)
    gradients = torch.autograd.grad(states.sum(), [items, *backbone.parameters()])
    assert not any(gradient.any() for gradient in gradients)


def test_dropout_derives_from_seed_epoch_and_user() -> None:
    histories = shuffled_histories(lonely_world())
    graph = DenseGraph(lonely_world())
    items = first_layer(lonely_world())[1]
    tables = [
        SASRec(SASRecOptions(dropout=0.5), graph, 6, seed).latest(histories, items, Draw(epoch, 0))
        for seed, epoch in ((1, 1), (1, 1), (1, 2))
    ]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_a_graph_without_histories_is_refused() -> None:
    graph = DenseGraph(lonely_world())
    graph.histories = None
    with pytest.raises(ValueError, match="SASRec needs the histories of users in order of time"):
        SASRec(SASRecOptions(), graph, 6, 0)

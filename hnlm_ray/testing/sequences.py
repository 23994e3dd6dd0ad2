"""Conformance checks for backbones of the package that read histories, beside :mod:`hnlm_ray.testing.backbones`.

They are functions that a test calls with a factory of the backbone::

    @pytest.mark.parametrize("check", SEQUENCE_CHECKS)
    def test_the_backbone(check):
        check(lambda graph, dim, seed: TheBackbone(graph, dim, seed))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from hnlm_ray.data.histories import Histories
from hnlm_ray.models.protocol import Backbone, Draw, ReadsHistories
from hnlm_ray.testing.backbones import MakeBackbone, first_layer, lonely_world, shuffled_histories
from hnlm_ray.training.graph import InteractionGraph

__all__ = ["SEQUENCE_CHECKS", "check_division", "check_empty", "check_future", "check_order", "check_padding"]

_DIM = 6
_DRAW = Draw(epoch=2, step=3)


def check_future(make: MakeBackbone) -> None:
    """What a user has from some moment on does not change the vector of the user before it; what was before does."""
    histories = _histories()
    targets = _targets(histories)
    before = _states(make, histories, targets)
    for row, target in enumerate(targets):
        later = _changed(histories, slice(target, int(histories.offsets[histories.users[target] + 1])))
        torch.testing.assert_close(_states(make, later, targets[row : row + 1]), before[row : row + 1])
        earlier = _changed(histories, slice(target - 1, target))
        moved = (_states(make, earlier, targets[row : row + 1]) - before[row]).abs().max()
        assert moved > 1e-3, "the item before a moment does not count"


def check_order(make: MakeBackbone) -> None:
    """The same items in another order give another vector."""
    histories = _histories()
    target = _targets(histories)[-1:]
    first = int(histories.offsets[histories.users[target[0]]])
    items = histories.items.copy()
    items[first : target[0]] = items[first : target[0]][::-1]
    moved = _states(make, Histories(histories.offsets, items), target) - _states(make, histories, target)
    assert moved.abs().max() > 1e-3, "the order of items does not count"


def check_padding(make: MakeBackbone) -> None:
    """A user among users with longer and shorter histories has the vectors that the user has alone."""
    histories = _histories()
    targets = _targets(histories)
    together = _states(make, histories, targets)
    for row in range(len(targets)):
        alone = _states(make, histories, targets[row : row + 1])
        torch.testing.assert_close(alone, together[row : row + 1])


def check_division(make: MakeBackbone) -> None:
    """A worker with some of the users computes for these what one with all users does, in training too."""
    histories = _histories()
    targets = _targets(histories)
    together = _states(make, histories, targets)
    cut = 5
    own = targets[histories.users[targets] >= cut]
    part = histories.slice_users(cut, histories.n_users)
    found = _states(make, part, own - histories.offsets[cut], first_user=cut)
    torch.testing.assert_close(found, together[histories.users[targets] >= cut])


def check_empty(make: MakeBackbone) -> None:
    """A user without an item has zeros; vectors after the latest item are those before one more interaction."""
    histories = _histories()
    latest = _latest(make, histories, histories)
    empty = np.diff(histories.offsets) == 0
    assert not latest[torch.from_numpy(empty)].any(), "a user without items has a vector"
    assert latest[torch.from_numpy(~empty)].any(dim=1).all(), "a user with items has none"
    shorter = Histories(
        np.concatenate([[0], np.cumsum(np.maximum(np.diff(histories.offsets) - 1, 0))]),
        np.delete(histories.items, histories.offsets[1:][~empty] - 1),
    )
    is_last = histories.offsets[1:][np.diff(histories.offsets) > 1] - 1
    expected = _states(make, histories, is_last)
    evaluated = _latest(make, histories, shorter, _DRAW)[np.diff(histories.offsets) > 1]
    torch.testing.assert_close(evaluated, expected)


SEQUENCE_CHECKS: tuple[Callable[[MakeBackbone], None], ...] = (
    check_future,
    check_order,
    check_padding,
    check_division,
    check_empty,
)
"""All of them."""


def _histories() -> Histories:
    return shuffled_histories(lonely_world(), 3)


def _targets(histories: Histories) -> npt.NDArray[np.int64]:
    """The latest interaction of every user who has two, and the one before it where it is not the first."""
    stops, degrees = histories.offsets[1:], np.diff(histories.offsets)
    return np.sort(np.concatenate([stops[degrees > 1] - 1, stops[degrees > 2] - 2]))


def _changed(histories: Histories, places: slice) -> Histories:
    """The histories with other items in some places."""
    items = histories.items.copy()
    items[places] = (items[places] + 4) % lonely_world().n_items
    return Histories(histories.offsets, items)


def _graph(histories: Histories, first_user: int = 0) -> InteractionGraph:
    train = lonely_world().slice_users(first_user, first_user + histories.n_users)
    return InteractionGraph(train, first_user, lonely_world().item_popularity, torch.device("cpu"), histories)


def _items() -> torch.Tensor:
    return first_layer(lonely_world())[1].detach()


def _states(
    make: MakeBackbone,
    histories: Histories,
    targets: npt.NDArray[np.int64],
    first_user: int = 0,
) -> torch.Tensor:
    """Vectors of users before some interactions, in training."""
    backbone = cast("Backbone", make(_graph(histories, first_user), _DIM, 1))
    users = torch.empty(histories.n_users, 0)
    with torch.no_grad():
        found = backbone.encode(users, _items(), replace(_DRAW, targets=targets)).of_pairs
    assert found is not None, "the draw names targets"
    return found


def _latest(make: MakeBackbone, graph: Histories, histories: Histories, draw: Draw | None = None) -> torch.Tensor:
    backbone = make(_graph(graph), _DIM, 1)
    assert isinstance(backbone, ReadsHistories)
    with torch.no_grad():
        return backbone.latest(histories, _items(), draw)

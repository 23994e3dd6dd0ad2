"""Conformance checks for samplers: functions that a test calls with a factory of the sampler.

Check a sampler of your own like the shipped ones::

    @pytest.mark.parametrize("check", SAMPLER_CHECKS)
    def test_my_sampler(check):
        check(lambda setting: MySampler(setting))

Most checks give the items *marked* vectors, the rows of the identity matrix, so that the vector of a negative shows
which items it is a mixture of.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.models.protocol import Layer
from hnlm_ray.samplers.protocol import Negatives, NegativeSampler, Scene, Setting
from hnlm_ray.testing.worlds import random_world

__all__ = [
    "SAMPLER_CHECKS",
    "Make",
    "Tables",
    "check_blocks",
    "check_draws",
    "check_extremes",
    "check_gradients",
    "check_shapes",
    "check_unseen",
    "scene_of",
    "setting_of",
]

Make = Callable[[Setting], NegativeSampler]
"""Makes the sampler under test."""

Block = tuple[int, int]
"""The first user of a worker and the one after its last."""


@dataclass(frozen=True)
class Tables:
    """Vectors of all users (U, d) and all items (I, d) on each layer; the final ones are their mean.

    Attributes:
        users: one table per layer.
        items: one table per layer.
    """

    users: list[torch.Tensor]
    items: list[torch.Tensor]

    @classmethod
    def random(cls, train: Interactions, dim: int = 5, layers: int = 3, seed: int = 0) -> Tables:
        """Normally distributed values, which require gradients."""
        generator = torch.Generator().manual_seed(seed)
        users, items = (
            [torch.randn(size, dim, generator=generator).requires_grad_() for _ in range(layers)]
            for size in (train.n_users, train.n_items)
        )
        return cls(users, items)

    @classmethod
    def marked(cls, train: Interactions, layers: int = 3, seed: int = 0) -> Tables:
        """Items have the rows of the identity matrix on each layer, users random values."""
        users = cls.random(train, train.n_items, layers, seed).users
        return cls(users, [torch.eye(train.n_items).requires_grad_() for _ in range(layers)])

    @cached_property
    def final(self) -> Layer:
        """Means of the layers, which are leaves with gradients of their own."""
        users, items = (torch.stack(layers).detach().mean(dim=0) for layers in (self.users, self.items))
        return users.requires_grad_(), items.requires_grad_()

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.items[0].shape[1]


def setting_of(train: Interactions, dim: int, block: Block | None = None, seed: int = 0) -> Setting:
    """The setting of a sampler for the users of a block; None for all users."""
    first, last = block or (0, train.n_users)
    return Setting(train.slice_users(first, last), train.item_popularity, dim, seed, torch.device("cpu"))


def scene_of(
    train: Interactions, tables: Tables, block: Block | None = None, *, epoch: int = 1, step: int = 0
) -> Scene:
    """A batch of all train pairs that have a negative, shuffled, as the worker of a block sees it.

    Args:
        train: all interactions.
        tables: vectors of all users and items.
        block: the worker's users; None for all.
        epoch: from 1.
        step: from 0.
    """
    first, last = block or (0, train.n_users)
    usable = np.flatnonzero(train.degree[train.users] < train.n_items)
    order = usable[np.random.default_rng(0).permutation(len(usable))]
    owners, items = (torch.from_numpy(part[order].astype(np.int64)) for part in (train.users, train.items))
    places = torch.nonzero((owners >= first) & (owners < last)).squeeze(1)
    numbers, own = owners[places], items[places]
    user_final, item_final = tables.final
    return Scene(
        users=numbers - first,
        items=own,
        places=places,
        epoch=epoch,
        step=step,
        user=user_final.index_select(0, numbers),
        positive=item_final.index_select(0, own),
        table=item_final,
        user_layers=[layer.index_select(0, numbers) for layer in tables.users],
        positive_layers=[layer.index_select(0, own) for layer in tables.items],
        table_layers=tables.items,
        batch_items=items,
        positions=places,
    )


def check_shapes(make: Make) -> None:
    """Vectors, weights, items and penalty have the shapes of :class:`hnlm_ray.samplers.protocol.Negatives`."""
    train, _ = random_world(13, 9, 0.4, 1)
    tables = Tables.random(train)
    scene = scene_of(train, tables)
    found = make(setting_of(train, tables.dim))(scene)
    n_pairs, n_negatives = len(scene.users), found.vectors.shape[-2]
    assert found.vectors.shape in ((n_pairs, n_negatives, tables.dim), (n_negatives, tables.dim))
    assert found.vectors.isfinite().all()
    if found.log_weights is not None:
        assert found.log_weights.shape == (n_pairs, n_negatives)
        assert (found.log_weights < torch.inf).all(), "a weight is infinite or not a number"
    if found.items is not None:
        assert found.items.dtype == torch.int64
        assert ((found.items >= 0) & (found.items < train.n_items)).all()
    if found.penalty is not None:
        assert found.penalty.shape == ()
        assert found.penalty.isfinite()


def check_unseen(make: Make, train: Interactions | None = None, seed: int = 0) -> None:
    """No negative with a weight contains an item the user has seen, except for a share of the pair's own positive."""
    train = random_world(13, 9, 0.4, 1)[0] if train is None else train
    tables = Tables.marked(train)
    for epoch in (1, 2):
        scene = scene_of(train, tables, epoch=epoch)
        shares, counts = _shares(make(setting_of(train, tables.dim, seed=seed))(scene), len(scene.users))
        seen = torch.from_numpy(train.contains(scene.users.numpy()[:, None], np.arange(train.n_items)[None, :]))
        own = torch.nn.functional.one_hot(scene.items, train.n_items).bool()
        counted = shares * counts[:, :, None]
        assert not (counted * (seen & ~own)[:, None]).any(), "a negative contains an item that the user has seen"
        unseen = (shares * ~seen[:, None]).sum(dim=2)
        assert (unseen[counts] > 0).all(), "a negative is the positive itself"


def check_draws(make: Make) -> None:
    """Negatives depend on the seed and the epoch alone, and not on the global generator."""
    train, _ = random_world(20, 40, 0.2, 2)
    tables = Tables.marked(train)

    def shares(seed: int, epoch: int, step: int = 0) -> torch.Tensor:
        torch.manual_seed(step + 10 * epoch)
        scene = scene_of(train, tables, epoch=epoch, step=step)
        return make(setting_of(train, tables.dim, seed=seed))(scene).vectors.detach()

    sampler = make(setting_of(train, tables.dim, seed=3))
    state = torch.get_rng_state()
    first = sampler(scene_of(train, tables)).vectors
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"
    assert torch.equal(first, sampler(scene_of(train, tables)).vectors), "a sampler remembers what it drew"
    assert torch.equal(first, shares(3, 1)), "two samplers of the same seed differ"
    if not sampler.needs_batch:
        assert not torch.equal(first, shares(3, 2)), "two epochs have the same draws"
        assert not torch.equal(first, shares(4, 1)), "two seeds have the same draws"


def check_blocks(make: Make) -> None:
    """Several workers get together what a single worker gets, however the users are divided."""
    train, _ = random_world(20, 11, 0.4, 3)
    tables = Tables.random(train)
    whole = make(setting_of(train, tables.dim))(scene_of(train, tables, epoch=4, step=2))
    for cuts in ([0, 7, 20], [0, 0, 5, 19, 20, 20]):
        blocks = list(itertools.pairwise(cuts))
        scenes = [scene_of(train, tables, block, epoch=4, step=2) for block in blocks]
        samplers = [make(setting_of(train, tables.dim, block)) for block in blocks]
        parts = [sampler(scene) for sampler, scene in zip(samplers, scenes, strict=True)]
        places = torch.cat([scene.places for scene in scenes])
        for part in parts:
            _same(part, whole, places, parts)
        if whole.penalty is not None:
            total = torch.stack([part.penalty for part in parts if part.penalty is not None]).sum()
            torch.testing.assert_close(total, whole.penalty, rtol=1e-4, atol=1e-4)


def check_gradients(make: Make) -> None:
    """Chosen rows get the gradient of their share; the choice and the weights have none."""
    train, _ = random_world(13, 9, 0.4, 1)
    tables = Tables.marked(train)
    scene = scene_of(train, tables)
    found = make(setting_of(train, tables.dim))(scene)
    assert found.log_weights is None or not found.log_weights.requires_grad
    wanted = found.vectors.detach().reshape(-1, train.n_items).sum(dim=0)
    of_items = _gradients(found.vectors, [tables.final[1], *tables.items])
    torch.testing.assert_close(of_items, wanted[:, None].expand_as(of_items), rtol=1e-4, atol=1e-5)
    assert not _gradients(found.vectors, [tables.final[0], *tables.users]).any(), "the choice is differentiated"


def check_extremes(make: Make) -> None:
    """Users with one unseen item, catalogues of two items, and workers without pairs in a batch."""
    everything = np.arange(6)
    for users, items, n_items in (
        (np.zeros(5, int), everything[:5], 6),
        (np.zeros(5, int), everything[1:], 6),
        (np.array([0, 1]), np.array([0, 1]), 2),
        (np.array([0, 0, 1]), np.array([0, 1, 1]), 2),
    ):
        train = Interactions.from_pairs(users, items, n_users=3, n_items=n_items)
        check_unseen(make, train)
        tables = Tables.random(train)
        nobody = make(setting_of(train, tables.dim, (2, 3)))(scene_of(train, tables, (2, 3)))
        assert nobody.vectors.dim() == 2 or len(nobody.vectors) == 0
        assert nobody.vectors.isfinite().all()


SAMPLER_CHECKS: tuple[Callable[[Make], None], ...] = (
    check_shapes,
    check_unseen,
    check_draws,
    check_blocks,
    check_gradients,
    check_extremes,
)
"""All of them."""


def _gradients(vectors: torch.Tensor, tables: list[torch.Tensor]) -> torch.Tensor:
    """The gradient of the sum of all coordinates, summed over tables of the same shape."""
    found = torch.autograd.grad(vectors.sum(), tables, retain_graph=True, allow_unused=True)
    total = torch.zeros_like(tables[0])
    for gradient in found:
        total = total if gradient is None else total + gradient.to_dense()
    return total


def _shares(negatives: Negatives, n_pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For marked items, the share of each item in each negative (B, K, I) and which negatives have a weight (B, K)."""
    vectors = negatives.vectors.detach()
    shares = vectors.expand(n_pairs, *vectors.shape) if vectors.dim() == 2 else vectors
    counts = torch.ones(shares.shape[:2], dtype=torch.bool)
    return shares, counts if negatives.log_weights is None else negatives.log_weights > -torch.inf


def _same(part: Negatives, whole: Negatives, places: torch.Tensor, parts: list[Negatives]) -> None:
    """Shared negatives and their weights are equal on every worker, others row by row."""
    if whole.vectors.dim() == 2:
        torch.testing.assert_close(part.vectors, whole.vectors)
    else:
        order = torch.argsort(places)
        torch.testing.assert_close(torch.cat([one.vectors for one in parts])[order], whole.vectors)
    if whole.log_weights is not None:
        weights = [one.log_weights for one in parts if one.log_weights is not None]
        torch.testing.assert_close(torch.cat(weights)[torch.argsort(places)], whole.log_weights)

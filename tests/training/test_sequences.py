"""Backbones that read histories, from the batches to the fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.histories import Histories
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.ranking import ranked_block
from hnlm_ray.testing.backbones import shuffled_histories
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training import checkpoint
from hnlm_ray.training.batches import BatchStream
from hnlm_ray.training.fit import fit
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation

TRAIN, VALID = random_world(40, 30, 0.2, 0)
SIDE = SideInformation(histories=shuffled_histories(TRAIN), seen_histories=shuffled_histories(TRAIN, 1))


def sasrec(**options: object) -> VariantConfig:
    given = {"dim": 8, "epochs": 4, "batch_size": 64, "learning_rate": 0.01, "validate_every": 2}
    backbone = {"name": "sasrec", "length": 5}
    return VariantConfig.model_validate({"backbone": backbone, "loss": "gbce", **given, **options})


def chain_world(n_users: int, n_items: int, length: int) -> npt.NDArray[np.int64]:
    """Walks (n_users, length + 2) over distinct items, half of whose steps go to the one item that follows the last.

    The last two steps do. Any two items that follow each other are seen together about as often in either order, so
    the set of a user's items says little about which comes next.
    """
    rng = np.random.default_rng(0)
    ring = rng.permutation(n_items)
    following = np.empty(n_items, np.int64)
    following[ring] = np.roll(ring, -1)
    walks: list[list[int]] = []
    while len(walks) < n_users:
        walk = [int(rng.integers(n_items))]
        while len(walk) < length + 2:
            is_led = rng.random() < 0.5 or len(walk) >= length
            walk.append(int(following[walk[-1]] if is_led else rng.integers(n_items)))
        if len(set(walk)) == len(walk):
            walks.append(walk)
    return np.array(walks)


def histories_of(walks: npt.NDArray[np.int64]) -> Histories:
    users, steps = walks.shape
    return Histories(np.arange(users + 1) * steps, walks.astype(np.int32).ravel())


def pairs_of(walks: npt.NDArray[np.int64], n_items: int) -> Interactions:
    users = np.repeat(np.arange(len(walks)), walks.shape[1])
    return Interactions.from_pairs(users, walks.ravel(), len(walks), n_items)


def hit_rate(
    users: npt.NDArray[np.float32],
    items: npt.NDArray[np.float32],
    seen: Interactions,
    next_items: npt.NDArray[np.int64],
) -> float:
    """How often the next item has the highest score of all items that the user has not seen."""
    return float((ranked_block(users, items, seen, 1).items[:, 0] == next_items).mean())


def test_the_next_item_of_a_chain_is_learned_which_embeddings_of_users_cannot() -> None:
    walks = chain_world(200, 60, 8)
    train, both, valid = pairs_of(walks[:, :8], 60), pairs_of(walks[:, :9], 60), pairs_of(walks[:, 8:9], 60)
    side = SideInformation(histories=histories_of(walks[:, :8]), seen_histories=histories_of(walks[:, :9]))
    options = {"epochs": 30, "dim": 16, "loss": "gbce", "l2": 0.0, "validate_every": 30, "batch_size": 128}
    backbone = {"name": "sasrec", "length": 8, "blocks": 1, "dropout": 0.1}
    variant = sasrec(**options, backbone=backbone, learning_rate=0.02, sampler={"name": "uniform", "negatives": 16})
    found = fit(train, valid, variant, 0, side=side)
    assert hit_rate(found.user_vectors, found.item_vectors, train, walks[:, 8]) > 0.9
    assert hit_rate(found.known_by(seen=True), found.item_vectors, both, walks[:, 9]) > 0.9
    assert found.known_by(seen=False) is found.user_vectors
    factors = fit(train, valid, VariantConfig(backbone="mf", **{**options, "learning_rate": 0.01}), 0)
    assert factors.known_by(seen=True) is factors.user_vectors
    assert hit_rate(factors.user_vectors, factors.item_vectors, train, walks[:, 8]) < 0.3


@pytest.mark.parametrize("length", [2, 50])
def test_an_epoch_has_the_latest_interactions_of_each_user_but_the_first(length: int) -> None:
    histories = shuffled_histories(TRAIN)
    expected = set()
    for user in range(TRAIN.n_users):
        first, last = histories.offsets[user : user + 2]
        expected |= set(range(max(first + 1, last - length), last))
    found: list[int] = []
    for rank in range(3):
        shard = Shard.cut(TRAIN, VALID, rank, 3)
        own = histories.slice_users(shard.first_user, shard.last_user)
        stream = BatchStream(shard, None, 7, 16, window=(own, length))
        assert stream.n_pairs == len(expected)
        sizes = 0
        for batch in stream.epoch(1):
            assert batch.targets is not None
            np.testing.assert_array_equal(own.items[batch.targets], batch.items)
            np.testing.assert_array_equal(own.users[batch.targets], batch.users)
            assert ((batch.places >= batch.first_place) & (batch.places < batch.first_place + 16)).all()
            assert (np.diff(batch.places) > 0).all()
            found += (batch.targets + histories.offsets[shard.first_user]).tolist()
            sizes += batch.global_size
        assert sizes == stream.n_pairs
    assert sorted(found) == sorted(expected)
    alone = BatchStream(Shard.cut(TRAIN, VALID, 0, 1), None, 7, 16, window=(histories, length))
    orders = [np.concatenate([batch.users for batch in alone.epoch(epoch)]) for epoch in (1, 2)]
    assert not np.array_equal(*orders)


def test_a_resumed_fit_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def save(loop: TrainingLoop) -> None:
        (tmp_path / str(loop.progress.epoch)).mkdir()
        checkpoint.save(loop, tmp_path / str(loop.progress.epoch))

    whole = fit(TRAIN, VALID, sasrec(), 0, side=SIDE, on_validation=save)
    resumed = fit(TRAIN, VALID, sasrec(), 0, side=SIDE, resume_from=tmp_path / "2")
    assert whole.seen_user_vectors is not None
    assert resumed.seen_user_vectors is not None
    for name in ("user_vectors", "item_vectors", "seen_user_vectors"):
        assert getattr(whole, name).tobytes() == getattr(resumed, name).tobytes()
    tensors, _ = checkpoint.best_tensors(tmp_path / "4")
    np.testing.assert_array_equal(tensors["seen_user_vectors"].numpy(), whole.seen_user_vectors)
    assert whole.counts["parameters"] == 30 * 8 + 5 * 8 + 2 * (6 * (8 * 8 + 8) + 4 * 8) + 2 * 8


def test_what_comes_after_train_does_not_change_what_validation_sees() -> None:
    other = SideInformation(histories=SIDE.histories, seen_histories=shuffled_histories(VALID))
    first, second = fit(TRAIN, VALID, sasrec(), 0, side=SIDE), fit(TRAIN, VALID, sasrec(), 0, side=other)
    assert first.user_vectors.tobytes() == second.user_vectors.tobytes()
    assert first.known_by(seen=True).tobytes() != second.known_by(seen=True).tobytes()


@pytest.mark.parametrize("histories", [None, shuffled_histories(VALID)])
def test_histories_of_other_interactions_are_refused(histories: Histories | None) -> None:
    with pytest.raises(DataError, match="the backbone sasrec needs the order of the train interactions"):
        fit(TRAIN, VALID, sasrec(), 0, side=SideInformation(histories=histories))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backbone": {"name": "sasrec", "heads": 3}}, "3 heads do not divide dim=8"),
        ({"positives": "user"}, "sasrec is trained on whole histories, so positives: user has no effect"),
        ({"sampler": "mixgcf"}, "the sampler mixgcf goes with the backbones"),
    ],
)
def test_options_that_do_not_go_with_it_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        sasrec(**options)

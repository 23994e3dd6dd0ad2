"""The supervising negative: each strategy against a loop that follows its definition word for word."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.tuning import SupervisionConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.tuning import supervision
from hnlm_ray.tuning.candidates import Knowledge, teacher_window
from hnlm_ray.tuning.supervision import choose_targets, matched_items, nearest_items

N_USERS, N_ITEMS = 30, 40
TRAIN, _ = random_world(N_USERS, N_ITEMS, 0.2, 1)


def knowledge(train: Interactions = TRAIN, seed: int = 0) -> Knowledge:
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=(train.n_items, 6))
    return Knowledge(
        train,
        rng.normal(size=(train.n_users, 5)).astype(np.float32),
        rng.normal(size=(train.n_items, 5)).astype(np.float32),
        (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32),
    )


KNOWN = knowledge()


def options(**chosen: object) -> SupervisionConfig:
    return SupervisionConfig.model_validate({"first": 2, "last": 9, "guard": None, **chosen})


def ranked(user: int) -> list[int]:
    scores = KNOWN.items @ KNOWN.users[user]
    return [item for item in np.argsort(-scores, kind="stable") if item not in set(TRAIN.row(user))]


def is_likely(user: int, item: int, quantile: float) -> bool:
    own = TRAIN.row(user).tolist()
    if len(own) < 2:
        return False
    score = [float(KNOWN.items[other] @ KNOWN.users[user]) for other in own]
    text = []
    for other in own:
        mean = sum(KNOWN.texts[one] for one in own if one != other)
        text.append(float(mean @ KNOWN.texts[other] / np.linalg.norm(mean)))
    mean = sum(KNOWN.texts[one] for one in own)
    place = int(np.floor(quantile * (len(own) - 1)))
    closeness = float(mean @ KNOWN.texts[item] / np.linalg.norm(mean))
    return float(KNOWN.items[item] @ KNOWN.users[user]) >= sorted(score)[place] and closeness >= sorted(text)[place]


@pytest.mark.parametrize("guard", [None, 0.0, 0.5])
def test_candidates_are_the_window_of_the_teachers_list(guard: float | None) -> None:
    window = teacher_window(KNOWN, options(guard=guard))
    for user in range(N_USERS):
        expected = ranked(user)[1:9]
        assert window.items[user].tolist() == expected
        likely = [guard is not None and is_likely(user, item, guard) for item in expected]
        assert window.likely[user].tolist() == likely
    assert guard is None or 0 < window.likely.sum() < window.likely.size


@pytest.mark.parametrize("strategy", ["window", "refined", "denoised"])
def test_a_target_never_stands_for_an_item_met_or_guarded(strategy: str) -> None:
    chosen = options(strategy=strategy, guard=0.3)
    window = teacher_window(KNOWN, chosen)
    targets = choose_targets(TRAIN.keys, KNOWN, chosen, 0)
    users, items = np.divmod(targets.pairs, N_ITEMS)
    for place, user in enumerate(users.tolist()):
        allowed = window.items[user][window.usable[user]].tolist()
        assert (targets.status[place] == supervision.OK) == bool(allowed)
        if not allowed:
            assert not targets.vectors[place].any()
        elif strategy != "denoised":
            assert targets.negatives[place] in allowed
            np.testing.assert_array_equal(targets.vectors[place], KNOWN.items[targets.negatives[place]])
    assert set(items) <= set(range(N_ITEMS))


def test_draws_cover_the_window_evenly_and_belong_to_the_pair() -> None:
    many, _ = random_world(400, N_ITEMS, 0.3, 2)
    known, chosen = knowledge(many), options(strategy="window")
    targets = choose_targets(many.keys, known, chosen, 0)
    window = teacher_window(known, chosen)
    place = (window.items[targets.pairs // N_ITEMS] == targets.negatives[:, None]).argmax(axis=1)
    counts = np.bincount(place, minlength=8)
    assert np.abs(counts / counts.mean() - 1).max() < 0.15
    order = np.random.default_rng(0).permutation(len(many.keys))[:50]
    some = choose_targets(many.keys[order], known, chosen, 0)
    np.testing.assert_array_equal(some.negatives, targets.negatives[order])
    assert (choose_targets(many.keys, known, chosen, 1).negatives != targets.negatives).any()


@pytest.mark.parametrize(("near", "far"), [(1.0, 0.0), (0.0, 1.0), (1.0, 2.0)])
def test_refined_weighs_the_texts_of_the_window(near: float, far: float) -> None:
    chosen = options(strategy="refined", near_item=near, far_from_user=far)
    targets = choose_targets(TRAIN.keys, KNOWN, chosen, 0)
    for pair, negative in zip(TRAIN.keys.tolist(), targets.negatives.tolist(), strict=True):
        user, item = divmod(pair, N_ITEMS)
        taste = KNOWN.texts[TRAIN.row(user)].sum(axis=0)
        asked = near * KNOWN.texts[item] - far * taste / np.linalg.norm(taste)
        closeness = [float(asked @ KNOWN.texts[other]) for other in ranked(user)[1:9]]
        assert negative == ranked(user)[1:9][int(np.argmax(closeness))]


def test_denoised_is_the_weighted_mean_and_cold_is_the_best() -> None:
    targets = choose_targets(TRAIN.keys, KNOWN, options(strategy="denoised", temperature=0.5), 0)
    for pair, vector in zip(TRAIN.keys.tolist()[::7], targets.vectors[::7], strict=True):
        user = pair // N_ITEMS
        items = KNOWN.items[ranked(user)[1:9]].astype(np.float64)
        weights = np.exp(items @ KNOWN.users[user] / 0.5)
        np.testing.assert_allclose(vector, weights @ items / weights.sum(), rtol=1e-4, atol=1e-5)
    cold = choose_targets(TRAIN.keys, KNOWN, options(strategy="denoised", temperature=1e-4), 0)
    best = [ranked(int(pair) // N_ITEMS)[1] for pair in TRAIN.keys]
    np.testing.assert_allclose(cold.vectors, KNOWN.items[best], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("guard", [None, 0.2])
def test_answers_are_kept_unless_met_or_guarded(guard: float | None) -> None:
    answers = np.random.default_rng(3).integers(-1, N_ITEMS, len(TRAIN.keys)).astype(np.int32)
    targets = choose_targets(TRAIN.keys, KNOWN, options(strategy="answer", guard=guard), 0, answers)
    for pair, answer, negative, status in zip(
        TRAIN.keys.tolist(), answers.tolist(), targets.negatives.tolist(), targets.status, strict=True
    ):
        user = pair // N_ITEMS
        refused = answer < 0 or answer in TRAIN.row(user) or (guard is not None and is_likely(user, answer, guard))
        assert negative == (-1 if refused else answer)
        assert status == (supervision.NO_ANSWER if refused else supervision.OK)
    with pytest.raises(DataError, match="needs written negatives"):
        choose_targets(TRAIN.keys, KNOWN, options(strategy="answer"), 0)


def test_a_user_who_met_nearly_everything_has_what_is_left_or_nothing() -> None:
    users = np.r_[np.zeros(N_ITEMS, int), np.ones(N_ITEMS - 2, int)]
    items = np.r_[np.arange(N_ITEMS), np.arange(N_ITEMS - 2)]
    train = Interactions.from_pairs(users, items, 2, N_ITEMS)
    for strategy in ("window", "refined", "denoised"):
        targets = choose_targets(train.keys, knowledge(train), options(strategy=strategy), 0)
        assert (targets.status[:N_ITEMS] == supervision.NO_CANDIDATE).all()
        assert (targets.status[N_ITEMS:] == supervision.OK).all()
        assert np.isfinite(targets.vectors).all()


def test_parts_of_different_runs_are_refused() -> None:
    with pytest.raises(DataError, match="the teacher's users have 3 rows, expected 30"):
        Knowledge(TRAIN, KNOWN.users[:3], KNOWN.items, KNOWN.texts)


def test_what_a_mean_stands_for_is_the_nearest_item_not_met() -> None:
    targets = choose_targets(TRAIN.keys, KNOWN, options(strategy="denoised", guard=0.2), 0)
    items = nearest_items(targets, KNOWN)
    units = KNOWN.items / np.linalg.norm(KNOWN.items, axis=1, keepdims=True)
    for pair, vector, status, item in zip(TRAIN.keys.tolist(), targets.vectors, targets.status, items, strict=True):
        scores = units @ vector
        scores[TRAIN.row(pair // N_ITEMS)] = -np.inf
        assert item == (int(scores.argmax()) if status == supervision.OK else -1)
    drawn = choose_targets(TRAIN.keys, KNOWN, options(strategy="window"), 0)
    np.testing.assert_array_equal(nearest_items(drawn, KNOWN), drawn.negatives)


def test_matched_answers_find_their_pairs() -> None:
    rows = [(3, "matched", 7), (5, "none", None), (9, "matched", 1), (11, "interacted", 2), (99, "matched", 4)]
    columns = zip(("pair", "status", "negative"), zip(*rows, strict=True), strict=True)
    grounded = pa.table({name: list(values) for name, values in columns})
    assert matched_items(grounded, np.array([3, 4, 5, 9, 11])).tolist() == [7, -1, -1, 1, -1]


def test_history_gives_another_item_of_the_user_and_each_of_them_as_often() -> None:
    counts = {}
    for seed in range(200):
        targets = choose_targets(TRAIN.keys, KNOWN, options(strategy="history"), seed)
        users, items = np.divmod(TRAIN.keys, N_ITEMS)
        assert (targets.status == "ok").all()
        assert (targets.negatives != items).all()
        assert TRAIN.contains(users, targets.negatives).all()
        counts[seed] = np.bincount(targets.negatives[users == 0], minlength=N_ITEMS)
    own = TRAIN.row(0)
    share = sum(counts.values())[own] / 200
    np.testing.assert_allclose(share, 1.0, atol=0.3)
    alone = Interactions.from_pairs(np.array([0]), np.array([3]), 1, N_ITEMS)
    lonely = choose_targets(alone.keys, knowledge(alone), options(strategy="history"), 0)
    assert (lonely.status == "no_candidate").all()


def test_history_of_some_pairs_is_that_of_all() -> None:
    some = TRAIN.keys[5::7]
    all_of_them = choose_targets(TRAIN.keys, KNOWN, options(strategy="history"), 4).negatives
    np.testing.assert_array_equal(
        choose_targets(some, KNOWN, options(strategy="history"), 4).negatives, all_of_them[5::7]
    )

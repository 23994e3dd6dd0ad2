"""Vectors for new users and new items, which training has not seen; nothing is trained for them.

To users lead their history or a text about them, by linear maps that ridge regression fits in closed form when a bundle
is written.

- :func:`fit_fold_in`: from sums over the items of a history to the trained vector of its user. The fit learns what the
  backbone does to a history, whichever backbone it is.
- :func:`fit_profile_map`: from the text vector of a user's profile to their trained vector, and from that of an item's
  profile to the vector of the item, so that a text which is no sentence of a profile, such as the name of a category,
  leads somewhere, too.
- :func:`fit_text_map`, where no user has a profile: from the text vector of an item to its trained vector, so that a
  text about a user is mapped to the neighbourhood of similar items.

A new item takes its vector from the known items that are nearest by text: :func:`new_item_vectors`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["fit_fold_in", "fit_profile_map", "fit_text_map", "history_features", "new_item_vectors"]

Floats = npt.NDArray[np.float32]

_MOST_USERS = 50_000
"""Most users of the fit: enough for a few hundred coefficients per dimension; more would only take longer."""

_HISTORY_RIDGE, _PROFILE_RIDGE, _TEXT_RIDGE = 1e-3, 1e-2, 1e-1
"""Strengths relative to the mean of the diagonal. Histories in requests are like those of the fit, texts less so: there
a weaker ridge would overfit (docs/results.md, Serving)."""

_NEAREST, _SHARPNESS, _NOISE, _NEW_AT_ONCE = 50, 4, 0.1, 256
"""Known items that a new one takes from; the power of the cosine that is their covariance; the variance of what a
vector has beyond its text, relative to the rest; and new items of one block."""


def history_features(
    item_vectors: Floats, popularity: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64],
    items: npt.NDArray[np.integer],
) -> Floats:  # fmt: skip
    """Features of histories: three weighted sums of item vectors.

    The mean; the mean with each item weighted by one over the root of its popularity; and that weighted sum divided by
    the root of the length instead, which is one propagation step of LightGCN (He et al., SIGIR 2020).

    Args:
        item_vectors: (I, d) float32.
        popularity: (I,) int64.
        offsets: (B + 1,) int64, where each history begins in ``items``.
        items: (n,) integers, the items of the histories.

    Returns:
        (B, 3 d) float32; zeros for an empty history.
    """
    from scipy.sparse import csr_array

    lengths = np.maximum(np.diff(offsets), 1).astype(np.float32)
    weights = (1.0 / np.sqrt(np.maximum(popularity, 1)[items])).astype(np.float32)
    shape = (len(offsets) - 1, len(item_vectors))
    sums = csr_array((np.ones(len(items), np.float32), items, offsets), shape=shape) @ item_vectors
    smooth = csr_array((weights, items, offsets), shape=shape) @ item_vectors
    by_root = smooth / np.sqrt(lengths)[:, None]
    features: Floats = np.concatenate([sums / lengths[:, None], smooth / lengths[:, None], by_root], axis=1)
    return features.astype(np.float32)


def fit_fold_in(
    user_vectors: Floats, item_vectors: Floats, popularity: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
) -> Floats:  # fmt: skip
    """The map from :func:`history_features` to user vectors, (3 d, d) float32; zeros if no user has a history.

    Args:
        user_vectors: (U, d) float32, trained.
        item_vectors: (I, d) float32, trained.
        popularity: (I,) int64.
        offsets: (U + 1,) int64.
        items: (nnz,) int32, the histories.
    """
    known = np.flatnonzero(np.diff(offsets))
    known = known[:: max(1, len(known) // _MOST_USERS)]
    lengths = offsets[known + 1] - offsets[known]
    own = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(own[-1]) - np.repeat(own[:-1] - offsets[known], lengths)
    features = history_features(item_vectors, popularity, own, items[places])
    return _ridge(features, user_vectors[known], _HISTORY_RIDGE)


def fit_profile_map(
    profile_vectors: Floats, user_vectors: Floats, items: tuple[Floats, Floats] | None = None
) -> Floats:
    """The map from text vectors of profiles to vectors of users, (t, d) float32.

    Args:
        profile_vectors: (n, t) float32, of users.
        user_vectors: (n, d) float32, their trained vectors.
        items: (m, t) float32 text vectors of items' profiles, and (m, d) float32 trained vectors of these items. They
            are scaled to the mean length of the users' vectors, and together weigh as much as the users.
    """
    if items is None or not len(items[0]):
        return _ridge(profile_vectors, user_vectors, _PROFILE_RIDGE)
    texts, vectors = items
    weight = np.sqrt(len(profile_vectors) / len(texts))
    length = _mean_length(user_vectors) / max(_mean_length(vectors), 1e-12)
    inputs = np.concatenate([profile_vectors, weight * texts])
    return _ridge(inputs, np.concatenate([user_vectors, weight * length * vectors]), _PROFILE_RIDGE)


def _mean_length(vectors: Floats) -> float:
    return float(np.linalg.norm(vectors, axis=1).mean())


def fit_text_map(text_vectors: Floats, item_vectors: Floats, popularity: npt.NDArray[np.int64]) -> Floats:
    """The map from text vectors (I, t) to item vectors (I, d): (t, d) float32.

    Items without interactions are left out, because nothing has trained their vectors.
    """
    known = np.flatnonzero(popularity)
    return _ridge(text_vectors[known], item_vectors[known], _TEXT_RIDGE)


def new_item_vectors(texts: Floats, known_texts: npt.NDArray[np.floating], known_vectors: Floats) -> Floats:
    """Vectors (n, d) float32 of new items, by kriging from their nearest known items.

    For a new item with the cosines ``c`` to its nearest known items, whose cosines to each other are ``C`` and whose
    vectors are ``V``, this is ``m + k(c) (k(C) + s I)^-1 (V - m)``: the mean of a Gaussian process with the covariance
    ``k(c) = max(c, 0)^4`` (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq. 2.23), where m is
    the mean vector. Unlike a mean weighted by cosines it does not count near-duplicates twice, and the further away the
    known items are, the less it claims: an item that resembles none gets m.

    Args:
        texts: (n, t) float32, text vectors of the new items, of unit length or zeros.
        known_texts: (m, t), those of the known items, of unit length; at least one.
        known_vectors: (m, d) float32, their trained vectors.
    """
    known = np.asarray(known_texts, dtype=np.float32)
    mean, count = known_vectors.mean(axis=0), min(_NEAREST, len(known))
    found = np.empty((len(texts), known_vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(texts), _NEW_AT_ONCE):
        block = slice(start, start + _NEW_AT_ONCE)
        cosines = texts[block] @ known.T
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        among = known[nearest]
        covariance = _covariance(among @ among.transpose(0, 2, 1)) + _NOISE * np.eye(count)
        deviations = known_vectors[nearest] - mean
        solved = np.linalg.solve(covariance, deviations.astype(np.float64))
        to_new = _covariance(np.take_along_axis(cosines, nearest, axis=1))
        found[block] = mean + np.einsum("nk,nkd->nd", to_new, solved)
    return found


def _covariance(cosines: Floats) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.maximum(cosines, 0.0).astype(np.float64) ** _SHARPNESS
    return found


def _ridge(inputs: Floats, targets: Floats, strength: float) -> Floats:
    x, y = inputs.astype(np.float64), targets.astype(np.float64)
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += strength * max(float(np.trace(gram)) / len(gram), 1e-12)
    weights: Floats = np.linalg.solve(gram, x.T @ y).astype(np.float32)
    return weights

"""Token ids of many texts in one flat array, and the sequences of (user, item) pairs made from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.errors import DataError
from hnlm_ray.kernels.runs import places_in_runs

__all__ = ["Layout", "TokenRows", "lay_out", "lay_out_texts"]


@dataclass(frozen=True)
class TokenRows:
    """Token ids of texts; those of text r are ``values[offsets[r]:offsets[r + 1]]``.

    Attributes:
        values: int32, all tokens.
        offsets: (R + 1,) int64.
    """

    values: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_table(cls, table: pa.Table, key: str, size: int) -> TokenRows:
        """From the table ``user_tokens`` or ``item_tokens``.

        Args:
            table: with the columns ``key`` and ``tokens``.
            key: ``user`` or ``item``.
            size: how many users or items there are.

        Raises:
            DataError: one is missing or listed twice.
        """
        table = table.sort_by(key)
        if not np.array_equal(table[key].to_numpy(), np.arange(size)):
            raise DataError(f"the table {key}_tokens does not hold one row per {key}", "run the stage tokens again")
        lists = table["tokens"].combine_chunks()
        offsets = np.r_[0, np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))].astype(np.int64)
        return cls(lists.flatten().to_numpy().astype(np.int32), offsets)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each text: (R,) int64."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Layout:
    """Sequences of pairs, ``[user vector] user text [item vector] item text``, padded on the right.

    Attributes:
        ids: (B, L) int64 token ids; 0 at vectors and padding.
        mask: (B, L) bool, False at padding.
        item_places: (B,) int64, the position of the item's vector; the user's is at 0.
    """

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    item_places: npt.NDArray[np.int64]


def lay_out(
    user_tokens: TokenRows,
    item_tokens: TokenRows,
    users: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    width: int | None = None,
) -> Layout:
    """The sequences of some pairs.

    Args:
        user_tokens: of every user.
        item_tokens: of every item.
        users: (B,) of the pairs.
        items: (B,) of the pairs.
        width: L; by default that of the longest sequence.
    """
    user_lengths, item_lengths = user_tokens.lengths[users], item_tokens.lengths[items]
    totals = user_lengths + item_lengths + 2
    width = int(totals.max(initial=2)) if width is None else width
    ids = np.zeros((len(users), width), np.int64)
    _place(ids, user_tokens, users, np.ones(len(users), np.int64))
    _place(ids, item_tokens, items, user_lengths + 2)
    return Layout(ids, np.arange(width) < totals[:, None], user_lengths + 1)


def lay_out_texts(
    tokens: TokenRows, texts: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The sequences ``[vector] text`` of some texts, padded on the right.

    Args:
        tokens: of all texts.
        texts: (B,) which.

    Returns:
        (B, L) int64 token ids, 0 at vectors and padding, and (B, L) bool, False at padding.
    """
    lengths = tokens.lengths[texts] + 1
    width = int(lengths.max(initial=1))
    ids = np.zeros((len(texts), width), np.int64)
    _place(ids, tokens, texts, np.ones(len(texts), np.int64))
    return ids, np.arange(width) < lengths[:, None]


def _place(
    ids: npt.NDArray[np.int64], tokens: TokenRows, texts: npt.NDArray[np.integer], starts: npt.NDArray[np.int64]
) -> None:
    """Write text ``texts[b]`` into row b, starting at column ``starts[b]``."""
    lengths = tokens.lengths[texts]
    rows = np.repeat(np.arange(len(texts)), lengths)
    inside = places_in_runs(lengths)
    ids[rows, np.repeat(starts, lengths) + inside] = tokens.values[np.repeat(tokens.offsets[texts], lengths) + inside]

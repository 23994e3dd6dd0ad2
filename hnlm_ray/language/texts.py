"""The texts by which an encoder knows items and users."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.item_texts import item_texts

__all__ = ["described_items", "described_users"]

_STRANGER = "customer"
"""The text of a user without a train interaction and without a profile."""


def described_items(items: pa.Table, profiles: pa.Array | None) -> list[str]:
    """The text of :func:`hnlm_ray.data.item_texts.item_texts`, then the item's profile, or its description without one.

    Args:
        items: I rows of :data:`hnlm_ray.tables.ITEMS`, sorted by item.
        profiles: (I,) strings, "" where an item has none; None if no item has one.
    """
    described = items["description"].to_pylist()
    if profiles is not None:
        described = [profile or text for profile, text in zip(profiles.to_pylist(), described, strict=True)]
    return [". ".join(part for part in parts if part) for parts in zip(item_texts(items), described, strict=True)]


def described_users(
    by_user: pa.Table, titles: pa.Array, n_users: int, profiles: pa.Array | None
) -> tuple[list[str], int]:
    """The profile of each user, or the titles of their latest purchases, newest first, where they have none.

    Args:
        by_user: from :func:`hnlm_ray.language.requests.user_requests`.
        titles: (I,) strings.
        n_users: U, how many users there are.
        profiles: (U,) strings, "" where a user has none; None if no user has one.

    Returns:
        U texts, and how many of them do without a profile.
    """
    lists = by_user["items"].combine_chunks()
    owners, named = lists.value_parent_indices()[::-1], titles.take(lists.flatten())[::-1]
    table = pa.table({"row": owners, "title": named}).group_by("row", use_threads=False).aggregate([("title", "list")])
    joined = dict(zip(table["row"].to_pylist(), pc.binary_join(table["title_list"], "; ").to_pylist(), strict=True))
    texts = [_STRANGER] * n_users
    for row, user in enumerate(by_user["id"].to_pylist()):
        texts[user] = joined[row] or _STRANGER
    written = [""] * n_users if profiles is None else profiles.to_pylist()
    return [profile or text for profile, text in zip(written, texts, strict=True)], written.count("")

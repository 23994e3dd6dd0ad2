"""The texts that stand for items and users in front of an encoder."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["described_items", "described_users", "item_texts"]

_STRANGER = "customer"
"""The text of a user without a train interaction and without a profile."""


def item_texts(items: pa.Table) -> list[str]:
    """Title, then categories from the widest to the narrowest; the item's own id where it has neither.

    Args:
        items: a table of :data:`hnlm_ray.tables.ITEMS`.
    """
    columns = (items[name].to_pylist() for name in ("item_id", "title", "categories"))
    return [
        ". ".join(part for part in (title.strip(), ", ".join(categories)) if part) or item_id or "item"
        for item_id, title, categories in zip(*columns, strict=True)
    ]


def described_items(items: pa.Table, profiles: pa.Array | None) -> list[str]:
    """:func:`item_texts`, and after it the profile; where there is none, the catalogue's description.

    Args:
        items: a table of :data:`hnlm_ray.tables.ITEMS`, sorted by item.
        profiles: (I,) strings, "" for none; None for none at all.
    """
    described = items["description"].to_pylist()
    if profiles is not None:
        described = [profile or text for profile, text in zip(profiles.to_pylist(), described, strict=True)]
    return [". ".join(part for part in parts if part) for parts in zip(item_texts(items), described, strict=True)]


def described_users(
    by_user: pa.Table, titles: pa.Array, n_users: int, profiles: pa.Array | None
) -> tuple[list[str], int]:
    """The profile of each user; where there is none, the titles of their latest purchases, the newest first.

    Args:
        by_user: from :func:`hnlm_ray.language.requests.user_requests`.
        titles: (I,) strings.
        n_users: how many users there are.
        profiles: (U,) strings, "" for none; None for none at all.

    Returns:
        One text per user, and how many of them come from purchases.
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

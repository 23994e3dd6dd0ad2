"""What is read about an item to place it among the others: its title and its categories."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["item_texts"]


def item_texts(items: pa.Table) -> list[str]:
    """The title of each item and its categories, widest first; the item's id where it has neither.

    Args:
        items: the columns ``item_id``, ``title`` and ``categories`` of :data:`hnlm_ray.tables.ITEMS`.
    """
    columns = (items[name].to_pylist() for name in ("item_id", "title", "categories"))
    return [
        ". ".join(part for part in (title.strip(), ", ".join(categories)) if part) or item_id or "item"
        for item_id, title, categories in zip(*columns, strict=True)
    ]

"""The text that stands for an item in vector space."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["item_texts"]


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

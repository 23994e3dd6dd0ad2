"""New items in a bundle: they get a place and a vector without training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.item_texts import item_texts
from hnlm_ray.errors import BundleError
from hnlm_ray.serving.bundle.bundle import Bundle
from hnlm_ray.serving.bundle.cold_start import new_item_vectors
from hnlm_ray.serving.recommend.text_encoder import TextEncoder
from hnlm_ray.tables import ITEMS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["with_new_items"]


def with_new_items(bundle: Bundle, items: pa.Table) -> Bundle:
    """A bundle in memory with further items at the end of its catalogue, which nobody has met yet.

    Their vectors come from those of the items that are nearest by text, see
    :func:`hnlm_ray.serving.bundle.cold_start.new_item_vectors`.

    Args:
        bundle: a bundle with text vectors of its items; it stays as it is.
        items: of :data:`hnlm_ray.tables.NEW_ITEMS`, each id once; those that the bundle has are left out.

    Raises:
        BundleError: the bundle has no text vectors of its items, or none of its items has an interaction.
    """
    contents = bundle.contents
    items = items.filter(pc.invert(pc.is_in(items["item_id"], value_set=contents.items["item_id"].combine_chunks())))
    if not len(items):
        return bundle
    known = np.flatnonzero(contents.popularity)
    if bundle.encoder is None or bundle.item_texts is None or not len(known):
        raise BundleError(
            f"bundle {bundle.info.version} has no text vectors of its items, so new items find no place in it",
            "set embed.model and build the bundle again, or take the new items away",
        )
    encoder = TextEncoder(bundle.encoder)
    texts = np.stack([encoder.encode(text) for text in item_texts(items)])
    vectors = new_item_vectors(texts, bundle.item_texts[known], contents.item_vectors[known])
    count, first = len(items), contents.n_items
    numbered = items.append_column("item", pa.array(np.arange(first, first + count, dtype=np.int32)))
    extended = replace(
        contents,
        item_vectors=np.concatenate([contents.item_vectors, vectors]),
        popularity=np.concatenate([contents.popularity, np.zeros(count, np.int64)]),
        items=pa.concat_tables([contents.items, numbered.select(ITEMS.names).cast(ITEMS)]),
        lists=_extended(contents.lists, count),
    )
    return replace(bundle, contents=extended, item_texts=np.concatenate([bundle.item_texts, texts.astype(np.float16)]))


def _extended(
    lists: csr_array[np.float32, tuple[int, int]] | None, count: int
) -> csr_array[np.float32, tuple[int, int]] | None:
    """Lists with further items at the end that vote for none and get no votes."""
    if lists is None:
        return None
    from scipy.sparse import csr_array

    offsets, size = np.r_[lists.indptr, np.full(count, lists.indptr[-1])], lists.shape[0] + count
    return csr_array((lists.data, lists.indices, offsets), shape=(size, size))

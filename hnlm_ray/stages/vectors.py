"""Compute the text vector of every item from its title, categories and more, by any model that vLLM can pool."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnlm_ray.cluster.resumable import work_folder
from hnlm_ray.data.item_texts import item_texts
from hnlm_ray.data.vectors import vector_column
from hnlm_ray.language.embed import embed_texts
from hnlm_ray.language.engines.choose import embedder_of
from hnlm_ray.language.engines.protocol import Embedder
from hnlm_ray.language.requests import profile_texts
from hnlm_ray.language.texts import described_items
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]


def run(context: StageContext, embedder: Embedder | None = None, variant: str | None = None) -> StageSummary:
    """Write ``item_vectors``: one unit vector per item, in half precision. An interrupted stage is resumed.

    Args:
        context: with the input ``prepare`` and, for profiles, ``item_profiles``.
        embedder: instead of the one that the configuration names.
        variant: ``described``, which adds descriptions to the texts, or ``profiled``, which adds written profiles, and
            descriptions where there is no profile. None for titles and categories.

    Raises:
        StageError: a text got no usable vector.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    output = context.output
    if not output.has("item_vectors"):
        texts = _texts(context, variant)
        context.say(f"item vectors: {len(texts)} texts")
        folder = work_folder(output, "item_vectors")
        vectors = embed_texts(texts, embedder or embedder_of(context.config.embed), folder, "item vectors", context.say)
        column = vector_column(vectors.astype(np.float16))
        output.write("item_vectors", pa.table({"item": np.arange(len(texts), dtype=np.int32), "vector": column}))
    vector = output.read("item_vectors")["vector"]
    return StageSummary({"item_vectors": len(vector)}, {"dimension": len(vector[0])})


def _texts(context: StageContext, variant: str | None) -> list[str]:
    items = context.inputs["prepare"].read("items").sort_by("item")
    if variant is None:
        return item_texts(items)
    profiles = None
    if variant == "profiled":
        written = context.inputs["item_profiles"].read("item_profiles")
        profiles, _ = profile_texts(written, "item", len(items))
    return described_items(items, profiles)

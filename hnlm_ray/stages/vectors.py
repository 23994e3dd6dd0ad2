"""The text vector of every item: title and categories through any model that vLLM pools."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnlm_ray.cluster.resumable import work_folder
from hnlm_ray.language.embed import embed_texts
from hnlm_ray.language.engines.choose import embedder_of
from hnlm_ray.language.engines.protocol import Embedder
from hnlm_ray.language.texts import item_texts
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]


def run(context: StageContext, embedder: Embedder | None = None) -> StageSummary:
    """Write ``item_vectors``: one unit vector per item, in half precision. A killed run is resumed.

    Args:
        context: with the input ``prepare``.
        embedder: instead of the one that the configuration names.

    Raises:
        StageError: a text got no usable vector.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    output = context.output
    if not output.has("item_vectors"):
        texts = item_texts(context.inputs["prepare"].read("items"))
        context.say(f"item vectors: {len(texts)} texts")
        folder = work_folder(output, "item_vectors")
        vectors = embed_texts(texts, embedder or embedder_of(context.config.embed), folder, "item vectors", context.say)
        rows = pa.array(list(vectors.astype(np.float16)), pa.list_(pa.float16()))
        output.write("item_vectors", pa.table({"item": np.arange(len(texts), dtype=np.int32), "vector": rows}))
    vector = output.read("item_vectors")["vector"]
    return StageSummary({"item_vectors": len(vector)}, {"dimension": len(vector[0])})

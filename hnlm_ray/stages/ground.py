"""Match the names of the hard negatives to items of the catalogue."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.compute as pc

from hnlm_ray.cluster.resumable import work_folder
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.data.vectors import vector_matrix
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.language.embed import embed_texts
from hnlm_ray.language.engines.choose import embedder_of
from hnlm_ray.language.engines.protocol import Embedder
from hnlm_ray.language.grounding import Catalogue, Vectors, ground, is_none, match_names
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]

STATUSES = ("matched", "interacted", "out_of_catalogue", "none")
STEPS = ("exact", "fuzzy", "vector")


def run(context: StageContext, embedder: Embedder | None = None) -> StageSummary:
    """Write ``grounded``: one row per row of ``negatives``. An engine is started only if a name is left to embed.

    Args:
        context: with the inputs ``prepare``, ``negatives`` and ``vectors``.
        embedder: instead of the one that the configuration names.

    Raises:
        StageError: an answer got no usable vector.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    config, output = context.config, context.output
    negatives = context.inputs["negatives"].read("negatives", ["pair", "user", "item", "answer"])
    prepared = context.inputs["prepare"]
    titles = prepared.read("items", ["title"])["title"].to_pylist()
    catalogue = Catalogue.of(titles)
    answers = [answer for answer in pc.unique(negatives["answer"]).sort().to_pylist() if not is_none(answer)]
    context.say(f"ground: {negatives.num_rows} answers, {len(answers)} distinct names")
    matches = match_names(answers, catalogue, config.ground.fuzzy)
    # Half precision leaves lengths a thousandth off 1.
    item_vectors = unit_rows(vector_matrix(context.inputs["vectors"].read("item_vectors")["vector"]))
    answer_vectors = np.zeros((len(answers), item_vectors.shape[1]), np.float32)
    left = matches.unmatched
    if len(left):
        used, folder = embedder or embedder_of(config.embed), work_folder(output, "answers")
        texts = [answers[row] for row in left]
        answer_vectors[left] = embed_texts(texts, used, folder, "answer vectors", context.say)
    train = read_splits(prepared).train
    grounded = ground(negatives, matches, Vectors(item_vectors, answer_vectors), train, config.ground)
    output.write("grounded", grounded)
    counts: dict[str, int | float] = {"distinct_names": len(answers), "embedded_names": len(left)}
    by_status, by_step = (Counter(grounded[name].to_pylist()) for name in ("status", "step"))
    counts |= {status: by_status[status] for status in STATUSES} | {f"by_{step}": by_step[step] for step in STEPS}
    return StageSummary({"grounded": grounded.num_rows}, counts)

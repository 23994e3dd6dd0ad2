"""Match the names of the hard negatives to items of the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from hnlm_ray.cluster.resumable import work_folder
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.data.vectors import vector_matrix
from hnlm_ray.errors import StageError
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.language.embed import embed_texts
from hnlm_ray.language.engines.choose import embedder_of
from hnlm_ray.language.engines.protocol import Embedder
from hnlm_ray.language.grounding import Catalogue, Vectors, ground, match_names
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]

STATUSES = ("matched", "interacted", "out_of_catalogue", "none")
STEPS = ("exact", "fuzzy", "vector")
_FEW = 0.5
"""With a smaller share of names in the catalogue, the stage warns."""


def run(context: StageContext, embedder: Embedder | None = None) -> StageSummary:
    """Write ``grounded``: one row per row of ``negatives``. An engine is started only if a name is left to embed.

    Args:
        context: with the inputs ``prepare``, ``negatives`` and ``vectors``.
        embedder: instead of the one that the configuration names.

    Raises:
        StageError: an answer got no usable vector, or fewer names than ``ground.min_matched`` are in the catalogue.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    config, output = context.config, context.output
    negatives = context.inputs["negatives"].read("negatives", ["pair", "user", "item", "answer"])
    prepared = context.inputs["prepare"]
    titles = prepared.read("items", ["title"])["title"].to_pylist()
    train = read_splits(prepared).train
    catalogue = Catalogue.of(titles, train.item_popularity)
    answers = [answer for answer in pc.unique(negatives["answer"]).sort().to_pylist() if answer]
    context.say(f"ground: {negatives.num_rows} answers, {len(answers)} distinct names")
    matches = match_names(answers, catalogue, config.ground.fuzzy)
    # Half precision leaves lengths a thousandth off 1.
    item_vectors = unit_rows(vector_matrix(context.inputs["vectors"].read("item_vectors")["vector"]))
    answer_vectors = np.zeros((0, item_vectors.shape[1]), np.float32)
    left = matches.unmatched
    if len(left):
        used, folder = embedder or embedder_of(config.embed), work_folder(output, "answers")
        texts = [answers[row] for row in left]
        answer_vectors = embed_texts(texts, used, folder, "answer vectors", context.say)
    grounded = ground(negatives, matches, Vectors(item_vectors, answer_vectors), train, config.ground)
    by_status, by_step = (Counter(grounded[name].to_pylist()) for name in ("status", "step"))
    warnings = _judged(by_status, config.ground.min_matched)
    output.write("grounded", grounded)
    counts: dict[str, int | float] = {"distinct_names": len(answers), "embedded_names": len(left)}
    counts |= {status: by_status[status] for status in STATUSES} | {f"by_{step}": by_step[step] for step in STEPS}
    return StageSummary({"grounded": grounded.num_rows}, counts, warnings)


def _judged(by_status: Mapping[str, int], least: float) -> list[str]:
    """A warning where less than half of the written negatives name an item of the catalogue.

    Raises:
        StageError: it is less than the share ``least``.
    """
    rows = sum(by_status.values())
    matched = by_status["matched"] + by_status["interacted"]
    if matched >= max(least, _FEW) * rows:
        return []
    found = (
        f"{matched:,} of {rows:,} written negatives ({matched / rows:.0%}) name an item of the catalogue,"
        f" {by_status['out_of_catalogue']:,} name something else and {by_status['none']:,} nothing"
    )
    cure = "use a language model that knows such products, or lower ground.fuzzy or ground.vector"
    if matched < least * rows:
        raise StageError(f"{found}: fewer than ground.min_matched={least:g}", f"{cure}, or ground.min_matched")
    return [f"{found}; {cure}."]

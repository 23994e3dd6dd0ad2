"""Texts to unit vectors, resumed after an interruption like every pass through an engine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.cluster.resumable import resumable_map
from hnlm_ray.data.vectors import vector_matrix
from hnlm_ray.errors import StageError
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.language.engines.protocol import EMBEDDINGS, Embedder
from hnlm_ray.run.places import Folder
from hnlm_ray.run.progress import Say
from hnlm_ray.run.rows import Rows

__all__ = ["embed_texts"]

_ACTION = "use another embed.model or embed.dtype"


def embed_texts(
    texts: list[str], embedder: Embedder, folder: Folder, purpose: str, say: Say
) -> npt.NDArray[np.float32]:
    """The vector of each text, over any number of interrupted attempts.

    Args:
        texts: T texts, none of them blank; the embedder cuts one that is too long.
        embedder: the model.
        folder: where vectors are durable between attempts; it belongs to these texts alone.
        purpose: what the vectors are, for messages.
        say: gets a line of progress now and then.

    Returns:
        (T, d) float32, each row of unit length; d is the model's.

    Raises:
        StageError: a text got no vector, or one that is zero or not finite.
        EngineError: the engine cannot start, or died for good.
        ResourceError: the cluster is too small for it.
        StoreError: the folder cannot be read or written.
    """
    rows = pa.table({"id": np.arange(len(texts)), "text": pa.array(texts, pa.string())})
    result = resumable_map(
        Rows.of(rows),
        embedder.embed,
        schema=EMBEDDINGS,
        folder=folder,
        rows_per_block=embedder.rows_per_block,
        needs=embedder.needs(),
        purpose=purpose,
        say=say,
        is_durable=lambda found: pc.equal(found["error"], ""),
        lost=lambda ids, reason: pa.table([ids, [[]] * len(ids), [reason] * len(ids)], schema=EMBEDDINGS),
    ).table()
    errors = [(row, error) for row, error in enumerate(result["error"].to_pylist()) if error]
    if errors:
        row, error = errors[0]
        raise StageError(
            f"{purpose}: {len(errors)} texts got no vector, the first is {texts[row]!r} ({error})", _ACTION
        )
    vectors = vector_matrix(result["vector"])
    length = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(length) & (length > 0)).all():
        raise StageError(f"{purpose}: the model gave a vector that is zero or not finite", _ACTION)
    return unit_rows(vectors)

"""Texts to unit vectors, resumable like every pass through an engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.cluster.resumable import resumable_map
from hnlm_ray.errors import StageError
from hnlm_ray.language.engines.protocol import EMBEDDINGS, Embedder
from hnlm_ray.run.places import Folder

__all__ = ["embed_texts"]

_ACTION = "use another embed.model or embed.dtype"


def embed_texts(
    texts: list[str], embedder: Embedder, folder: Folder, purpose: str, say: Callable[[str], None]
) -> npt.NDArray[np.float32]:
    """One vector per text.

    Args:
        texts: none of them blank.
        embedder: the model.
        folder: where work is kept between attempts.
        purpose: for messages.
        say: gets a line of progress now and then.

    Returns:
        (texts, d) float32, each row of unit length.

    Raises:
        StageError: a text got no vector, or a vector without length or with a value that is not finite.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    rows = pa.table({"id": np.arange(len(texts)), "text": pa.array(texts, pa.string())})
    result = resumable_map(
        rows,
        embedder.embed,
        schema=EMBEDDINGS,
        folder=folder,
        rows_per_block=embedder.rows_per_block,
        needs=embedder.needs(),
        purpose=purpose,
        say=say,
    )
    errors = [(row, error) for row, error in enumerate(result["error"].to_pylist()) if error]
    if errors:
        row, error = errors[0]
        raise StageError(
            f"{purpose}: {len(errors)} texts got no vector, the first is {texts[row]!r} ({error})", _ACTION
        )
    flat = result["vector"].combine_chunks()
    vectors = flat.flatten().to_numpy(zero_copy_only=False).reshape(len(texts), -1).astype(np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise StageError(f"{purpose}: the model gave a vector without length or with NaN", _ACTION)
    unit: npt.NDArray[np.float32] = vectors / length
    return unit

"""Item vectors: one per item, unit length, the same dimension."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.cluster.resumable import work_folder
from hnlm_ray.data.item_texts import item_texts
from hnlm_ray.errors import StageError
from hnlm_ray.language.embed import embed_texts
from hnlm_ray.language.engines.protocol import EMBEDDINGS
from hnlm_ray.language.engines.scripted import ScriptedEmbedder
from hnlm_ray.run.places import Folder
from hnlm_ray.run.store import RunStore
from tests.stages.language_run import N_ITEMS, LanguageRun, title

pytestmark = pytest.mark.ray


def test_one_unit_vector_per_item(language_run: LanguageRun) -> None:
    table = language_run.artifacts["vectors"].read("item_vectors")
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    assert table["item"].to_pylist() == list(range(N_ITEMS))
    assert vectors.shape == (N_ITEMS, language_run.summaries["vectors"].counts["dimension"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    # Items 0 and 4 are both kettles; 1 is a lantern of another colour.
    assert vectors[0] @ vectors[4] > vectors[0] @ vectors[1]


def test_the_text_is_title_and_categories_or_the_id(language_run: LanguageRun) -> None:
    items = language_run.artifacts["prepare"].read("items")
    assert item_texts(items)[0] == f"{title(0)}. Home, Kettle"
    bare = pa.table({"item_id": ["i7"], "title": [" "], "categories": pa.array([[]], pa.list_(pa.string()))})
    assert item_texts(bare) == ["i7"]


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folder]:
    output = RunStore(str(tmp_path)).artifact("vectors", "f")
    return iter([work_folder(output, str(number)) for number in range(9)])


@pytest.mark.parametrize(
    ("vector", "error", "says"),
    [
        ([], "too long", "too long"),
        ([0.0, 0.0], "", "zero or not finite"),
        ([float("nan"), 1.0], "", "zero or not finite"),
    ],
)
def test_a_text_without_a_usable_vector_stops_the_stage(
    ray_session: None, folders: Iterator[Folder], vector: list[float], error: str, says: str
) -> None:
    class Bad(ScriptedEmbedder):
        def embed(self, texts):
            def bad(batch: pa.Table) -> pa.Table:
                size = batch.num_rows
                return pa.table({"id": batch["id"], "vector": [vector] * size, "error": [error] * size}).cast(
                    EMBEDDINGS
                )

            return texts.map_batches(bad, batch_format="pyarrow")

    with pytest.raises(StageError, match=says):
        embed_texts(["one", "two"], Bad(), next(folders), "test", print)

"""Models of finished fits: read over the mapped file, and refused in a sentence where they are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from hnlm_ray.errors import StoreError
from hnlm_ray.models.ease import fit_ease
from hnlm_ray.models.fitted import read_ranker
from hnlm_ray.models.item_item import ItemItem
from hnlm_ray.models.rankers import ItemItemRanker
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(30, 20, 0.2, 1)


def fit_of(folder: Path, content: bytes) -> Artifact:
    artifact = RunStore(str(folder)).artifact("train.x.s0", "abc")
    artifact.create()
    artifact.write_bytes("model.safetensors", content)
    artifact.commit({"rows": {}})
    return artifact


def test_the_weights_of_a_large_model_are_not_copied(tmp_path: Path) -> None:
    model = fit_ease(TRAIN, 10.0)
    ranker = read_ranker(fit_of(tmp_path, save(model.tensors())), TRAIN)
    assert isinstance(ranker, ItemItemRanker)
    weights = ranker.model.weights
    assert isinstance(weights, np.ndarray)
    assert not weights.flags.owndata
    assert not weights.flags.writeable
    np.testing.assert_array_equal(ItemItem(weights).scores(TRAIN), model.scores(TRAIN))


def test_a_file_that_was_changed_or_is_none_is_one_sentence(tmp_path: Path) -> None:
    content = save(fit_ease(TRAIN, 10.0).tensors())
    changed = fit_of(tmp_path / "a", content)
    path = Path(changed.path) / "model.safetensors"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"model\.safetensors"):
        read_ranker(changed, TRAIN)
    with pytest.raises(StoreError, match=r"model\.safetensors cannot be read \(it is not a safetensors file\)"):
        read_ranker(fit_of(tmp_path / "b", b"nothing"), TRAIN)

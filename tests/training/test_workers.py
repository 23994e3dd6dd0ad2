"""One worker, two and four: the same losses, and checkpoints that change hands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from hnlm_ray.config.backbones import MFOptions
from hnlm_ray.config.semantic import ContrastOptions, MixingOptions, SemanticOptions
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.samplers.guard import Guard
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.testing.backbones import shuffled_histories
from hnlm_ray.testing.workers import run_workers
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training import checkpoint
from hnlm_ray.training.fit import fit
from hnlm_ray.training.side_information import SideInformation

TRAIN, VALID = random_world(60, 40, 0.15, 1)
SEMANTIC = SemanticOptions(mixing=MixingOptions(share=0.3), contrast=ContrastOptions(weight=0.1))
HALF = VariantConfig(
    dim=8,
    epochs=4,
    batch_size=100,
    learning_rate=0.01,
    validate_every=2,
    semantic=SEMANTIC,
)
PLAIN = VariantConfig(dim=8, epochs=4, batch_size=100, learning_rate=0.01, validate_every=2)
VARIANTS = {
    "lightgcn": HALF,
    "mf": HALF.model_copy(update={"backbone": MFOptions()}),
    "item text": PLAIN.model_copy(update={"item_text": True}),
    "features": PLAIN.model_copy(update={"item_features": True, "user_features": True}),
    "text contrast": VariantConfig.model_validate(PLAIN.model_dump() | {"text_contrast": {"weight": 0.5}}),
    "learned share": HALF.model_copy(
        update={"semantic": SEMANTIC.model_copy(update={"mixing": MixingOptions(share=0.3, mode="learned")})}
    ),
    "candidates": VariantConfig.model_validate(
        PLAIN.model_dump() | {"semantic": {"source": "item", "use": "candidates"}, "sampler": {"name": "dns"}}
    ),
    "item vectors": HALF.model_copy(update={"semantic": SEMANTIC.model_copy(update={"source": "item"})}),
    **{
        f"item graph {place}, {sampler} with a guard": VariantConfig.model_validate(
            PLAIN.model_dump()
            | {"item_graph": {"neighbours": 3, "layers": layers, "place": place}, "sampler": sampler, "loss": loss}
            | {"guard": {"table": "any", "exclude": 2}}
        )
        for place, layers, sampler, loss in [
            ("before", 2, "dns", "bpr"),
            ("beside", 1, "uniform", "softmax"),
            ("after", 1, "in_batch", "softmax"),
        ]
    },
    **{
        str(part): VariantConfig.model_validate({**PLAIN.model_dump(), key: part, **others})
        for key, part, others in [
            ("backbone", "ngcf", {}),
            ("backbone", "sgl", {}),
            ("backbone", "simgcl", {}),
            ("backbone", "xsimgcl", {}),
            ("backbone", "directau", {}),
            ("backbone", {"name": "sasrec", "length": 4}, {"loss": "gbce", "text_contrast": {"weight": 0.1}}),
            ("sampler", "popularity", {}),
            ("sampler", "in_batch", {"loss": "softmax"}),
            ("sampler", "dns", {"positives": "user"}),
            (
                "sampler",
                "softmax_importance",
                {"sampler": {"name": "softmax_importance", "candidates": 9}, "l2_on": "all"},
            ),
            ("sampler", "mixgcf", {}),
            ("sampler", "dens", {"l2_on": "norm"}),
            ("sampler", "ahns", {"loss": "hinge"}),
            ("loss", "bsl", {"sampler": {"name": "uniform", "negatives": 16, "shared": True}}),
            ("loss", "sl_at_k", {"sampler": {"name": "uniform", "negatives": 4}}),
            ("loss", "pairwise_contrastive", {"sampler": {"name": "uniform", "rejection": "skip"}}),
        ]
    },
}


TEXTS = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)


def side_information() -> SideInformation:
    rng = np.random.default_rng(3)
    graph = csr_array(rng.random((40, 40)) * (rng.random((40, 40)) < 0.1), dtype=np.float32)
    keys = np.setdiff1d(np.arange(TRAIN.n_users * 40), TRAIN.keys)[::5]
    trust = np.where(np.arange(len(keys)) % 4 == 0, 0.0, rng.random(len(keys))).astype(np.float32)
    guard = Guard(keys, trust, 40)
    orders = shuffled_histories(TRAIN), shuffled_histories(TRAIN, 1)
    features = [csr_array(rng.random((n, 7)) * (rng.random((n, 7)) < 0.3), dtype=np.float32) for n in (40, 60)]
    return SideInformation(vectors(), TEXTS, graph, guard, *orders, *features)


def vectors() -> PairVectors:
    rng = np.random.default_rng(0)
    pairs = TRAIN.keys[::2]
    return PairVectors(
        pairs,
        rng.integers(9, size=len(pairs)).astype(np.int32),
        rng.normal(size=(9, 5)).astype(np.float32),
        40,
        np.arange(9, dtype=np.int32)[:, None],
    )


def body(rank: int, folder: Path) -> None:
    """Fit every variant, leaving checkpoints, histories and this worker's vectors in ``folder``."""
    for name, variant in VARIANTS.items():

        def save(loop: object, name: str = name) -> None:
            place = folder / f"{name}-{loop.progress.epoch}"  # type: ignore[attr-defined]
            place.mkdir(exist_ok=True)
            checkpoint.save(loop, place)  # type: ignore[arg-type]

        result = fit(TRAIN, VALID, variant, 0, side=side_information(), on_validation=save)
        np.savez(folder / f"{name}-{rank}.npz", users=result.user_vectors, items=result.item_vectors)
        (folder / f"{name}-{rank}.json").write_text(json.dumps([result.progress.to_json(), result.counts]))


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    run_workers(2, body, folder)
    return folder


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_two_workers_train_as_one(name: str, two_workers: Path) -> None:
    one = fit(TRAIN, VALID, VARIANTS[name], 0, side=side_information())
    for rank in (0, 1):
        progress, counts = json.loads((two_workers / f"{name}-{rank}.json").read_text())
        assert counts == one.counts
        for record, expected in zip(json.loads(progress)["history"], one.progress.history, strict=True):
            for field in ("loss", "ranking_loss", "contrastive_loss"):
                assert record[field] == pytest.approx(getattr(expected, field), rel=1e-4)
    parts = [np.load(two_workers / f"{name}-{rank}.npz") for rank in (0, 1)]
    users = np.concatenate([part["users"] for part in parts])
    np.testing.assert_allclose(users, one.user_vectors, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(parts[0]["items"], parts[1]["items"])


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_checkpoint_of_two_workers_continues_on_one(name: str, two_workers: Path) -> None:
    one = fit(TRAIN, VALID, VARIANTS[name], 0, side=side_information())
    resumed = fit(
        TRAIN,
        VALID,
        VARIANTS[name],
        0,
        side=side_information(),
        resume_from=two_workers / f"{name}-2",
    )
    assert resumed.progress.epoch == 4
    expected = [record.loss for record in one.progress.history]
    assert [record.loss for record in resumed.progress.history] == pytest.approx(expected, rel=1e-4)
    tensors, progress = checkpoint.best_tensors(two_workers / f"{name}-4")
    assert tensors["user_vectors"].shape == one.user_vectors.shape
    assert progress.epoch == 4


def resume_on_four(rank: int, folder: Path) -> None:
    result = fit(TRAIN, VALID, HALF, 0, side=SideInformation(vectors()), resume_from=folder / "from")
    (folder / f"{rank}.json").write_text(json.dumps([record.loss for record in result.progress.history]))


def test_a_checkpoint_of_one_worker_continues_on_four(tmp_path: Path) -> None:
    place = tmp_path / "from"
    place.mkdir()
    half = HALF.model_copy(update={"epochs": 2})
    side = SideInformation(vectors())
    fit(TRAIN, VALID, half, 0, side=side, on_validation=lambda loop: checkpoint.save(loop, place))
    run_workers(4, resume_on_four, tmp_path)
    expected = [record.loss for record in fit(TRAIN, VALID, HALF, 0, side=side).progress.history]
    for rank in range(4):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(expected, rel=1e-4)

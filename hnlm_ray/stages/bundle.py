"""The bundle stage: of the served variant, the fit that validated best becomes a folder that can be served."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import hnlm_ray
from hnlm_ray.config import Config
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import StageError, StoreError
from hnlm_ray.evaluation.metrics import SELECTION_CUTOFF
from hnlm_ray.serving.bundle import BundleAbout, write_bundle
from hnlm_ray.serving.contents import Contents
from hnlm_ray.stage import StageContext, StageSummary
from hnlm_ray.store import Artifact

__all__ = ["run"]


def run(context: StageContext) -> StageSummary:
    """Write the bundle files into the stage's own folder.

    Reads ``prepare``, ``evaluate`` and ``train.<variant>.s<seed>`` of ``serve.variant``, at the seed with the best
    NDCG on the valid split.

    Raises:
        StageError: the evaluation does not cover the variant.
        StoreError: the fit lacks its vectors.
        BundleError: the parts do not belong together.
    """
    config = context.config
    variant = config.serve.variant
    metrics = context.inputs["evaluate"].read("metrics")
    metrics = metrics.filter(pc.equal(metrics["variant"], variant))
    seed = _best_seed(metrics, variant, config.train.seeds)
    contents = _contents(context.inputs["prepare"], context.inputs[f"train.{variant}.s{seed}"])
    about = BundleAbout(
        data=_data_name(config),
        variant=variant,
        seed=seed,
        config=config.train.variants[variant].model_dump(mode="json"),
        metrics=_figures(metrics, seed),
        code_version=hnlm_ray.__version__,
    )
    info = write_bundle(context.output.path, contents, about, context.output.filesystem)
    context.say(f"bundle {info.version}: {variant}, seed {seed}, {info.users} users, {info.items} items")
    return StageSummary(
        rows={"users": info.users, "items": info.items},
        counts={"seen": len(contents.seen_items), "seed": seed},
    )


def _best_seed(metrics: pa.Table, variant: str, seeds: tuple[int, ...]) -> int:
    """The seed with the best valid NDCG at the selection cut-off, or at the largest that was measured."""
    valid = pc.and_(pc.equal(metrics["split"], "valid"), pc.equal(metrics["metric"], "ndcg"))
    trained = pc.is_in(metrics["seed"], value_set=pa.array(seeds, pa.int32()))
    table = metrics.filter(pc.and_(valid, trained))
    cutoffs = set(table["k"].to_pylist())
    if not cutoffs:
        raise StageError(f"evaluate has no valid NDCG of the variant {variant!r}", "run evaluate again")
    cutoff = SELECTION_CUTOFF if SELECTION_CUTOFF in cutoffs else max(cutoffs)
    table = table.filter(pc.equal(table["k"], cutoff)).sort_by([("value", "descending"), ("seed", "ascending")])
    return int(table["seed"][0].as_py())


def _contents(prepare: Artifact, fit: Artifact) -> Contents:
    users, items = prepare.read("users"), prepare.read("items")
    table = prepare.read("interactions", ["user", "item", "split"])
    seen = Interactions.from_table(table, len(users), len(items), splits=("train", "valid"))
    user_vectors, item_vectors = _vectors(fit)
    return Contents(
        user_vectors=user_vectors,
        item_vectors=item_vectors,
        seen_offsets=seen.offsets,
        seen_items=seen.items,
        popularity=seen.item_popularity.astype(np.int64),
        users=users,
        items=items,
    )


def _vectors(fit: Artifact) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """User and item vectors, float32."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(fit.read_bytes("model.safetensors"))
        return tensors["user_vectors"].astype(np.float32), tensors["item_vectors"].astype(np.float32)
    except (SafetensorError, KeyError) as error:
        path = fit.path_of("model.safetensors")
        raise StoreError(f"{path} cannot be read ({error})", "delete its folder and train again") from error


def _figures(metrics: pa.Table, seed: int) -> dict[str, float]:
    rows = metrics.filter(pc.equal(metrics["seed"], seed)).to_pylist()
    return {f"{row['split']} {row['metric']}@{row['k']}": row["value"] for row in rows}


def _data_name(config: Config) -> str:
    if config.data.path is None:
        return config.data.format
    return f"{os.path.basename(config.data.path.rstrip('/'))} ({config.data.format})"

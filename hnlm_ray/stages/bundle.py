"""Make the bundle of a served variant from its fit with the best validation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import hnlm_ray
from hnlm_ray.config.serving import BEST
from hnlm_ray.config.tree import SELECTION_CUTOFF, Config
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.demo import assets
from hnlm_ray.errors import StageError
from hnlm_ray.models.fitted import read_served
from hnlm_ray.report.comparison import best_on_validation, compare
from hnlm_ray.run.stage import StageContext, StageKey, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import BundleAbout
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from hnlm_ray.serving.recommend.text_encoder import TextEncoder
from hnlm_ray.tables import WRITTEN_NEGATIVES

__all__ = ["run"]

_MOST_PROFILES = 1000
"""Text vectors of at most this many profiles are computed; more improve the map from texts little."""

_FEWEST_PROFILES = 100
"""With fewer, the bundle has no map from texts."""


def run(context: StageContext, variant: str) -> StageSummary:
    """Write the files of the bundle.

    The fit is that of the seed with the best NDCG on the valid split.

    Args:
        context: with the inputs ``prepare``, ``evaluate``, the fits of the variant (of every variant that can be
            served, for ``best``) and, where the run has them, ``item_profiles``, ``user_profiles``, ``vectors``,
            ``negatives`` and ``ground``.
        variant: a key of ``train.variants``, or ``best`` for the one that is best on validation.

    Raises:
        StageError: the evaluation does not cover the variant.
        StoreError: the fit has no vectors of these users and items.
        BundleError: the parts do not fit together.
    """
    config = context.config
    metrics = context.inputs["evaluate"].read("metrics")
    warnings: tuple[str, ...] = ()
    if variant == BEST:
        variant, warnings = _best_variant(metrics, config.servable)
    metrics = metrics.filter(pc.equal(metrics["variant"], variant))
    seed = _best_seed(metrics, variant, config.train.seeds)
    contents = _contents(context.inputs["prepare"], context.inputs[StageKey("train", variant, seed).name])
    extras = _extras(config, context.inputs, contents)
    about = BundleAbout(
        data=_data_name(config),
        variant=variant,
        seed=seed,
        config=config.train.variants[variant].model_dump(mode="json"),
        metrics={
            f"{row['split']} {row['metric']}@{row['k']}": row["value"]
            for row in metrics.filter((pc.field("seed") == seed) & pc.field("value").is_valid()).to_pylist()
        },
        code_version=hnlm_ray.__version__,
    )
    info = write_bundle(context.output.path, contents, about, context.output.filesystem, extras)
    context.say(f"bundle {info.version}: {variant}, seed {seed}, {info.users} users, {info.items} items")
    texts = {name: getattr(extras, name) for name in ("user_profiles", "item_profiles", "negatives")}
    return StageSummary(
        rows={"users": info.users, "items": info.items} | {n: len(t) for n, t in texts.items() if t is not None},
        counts={"seen": len(contents.seen_items), "seed": seed, "text_encoder": int(extras.encoder is not None)},
        warnings=warnings,
    )


def _extras(config: Config, inputs: Mapping[str, Artifact], contents: Contents) -> Extras:
    """What the language model wrote, and the text encoder, as far as the run has them."""
    profiles = {name: inputs[name].read(name) for name in ("user_profiles", "item_profiles") if name in inputs}
    negatives = _written(inputs["negatives"], inputs["ground"]) if "ground" in inputs else None
    encoder = _encoder(config)
    if "vectors" not in inputs or encoder is None:
        return Extras(**profiles, negatives=negatives)
    vectors = read_item_vectors(inputs["vectors"], contents.n_items).astype(np.float32)
    extras = Extras(**profiles, negatives=negatives, text_vectors=vectors, encoder=encoder)
    return _with_profile_vectors(extras, contents) if extras.user_profiles is not None else extras


def _with_profile_vectors(extras: Extras, contents: Contents) -> Extras:
    """Add text vectors of a sample of the profiles, from which the service learns to map the text of a new user."""
    assert extras.user_profiles is not None
    assert extras.encoder is not None
    users, of_users = _sample(extras.user_profiles, "user", np.diff(contents.seen_offsets))
    if len(users) < _FEWEST_PROFILES:
        return extras
    encoder = TextEncoder(extras.encoder)
    extras = replace(extras, profile_vectors=np.stack([*map(encoder.encode, of_users)]), profiled_users=users)
    if extras.item_profiles is None:
        return extras
    items, of_items = _sample(extras.item_profiles, "item", contents.popularity)
    if not of_items:
        return extras
    return replace(extras, described_vectors=np.stack([*map(encoder.encode, of_items)]), described_items=items)


def _sample(
    profiles: pa.Table, key: str, interactions: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Numbers and profiles of up to ``_MOST_PROFILES`` users or items with an interaction, evenly spread."""
    written = profiles.filter(pc.equal(profiles["status"], "ok"))
    numbers: npt.NDArray[np.int32] = written[key].to_numpy()
    chosen = np.flatnonzero(interactions[numbers] > 0)
    chosen = chosen[:: -(-len(chosen) // _MOST_PROFILES) or 1]
    return numbers[chosen], written["summary"].take(pa.array(chosen)).to_pylist()


def _written(negatives: Artifact, ground: Artifact) -> pa.Table:
    """The table ``written_negatives``: what the language model wrote, and what it was matched to."""
    matches = ground.read("grounded", ["pair", "status", "negative"])
    written = negatives.read("negatives", ["pair", "user", "item", "answer", "reasoning"])
    joined = written.join(matches, "pair", join_type="inner")
    joined = joined.filter(pc.not_equal(joined["answer"], "")).sort_by([("user", "ascending"), ("item", "ascending")])
    return joined.select(WRITTEN_NEGATIVES.names)


def _encoder(config: Config) -> str | None:
    """Folder of the model that made the items' text vectors, if the service can run it and it is not too large."""
    if not config.embed.model:
        return None
    folder = Path(assets.resolve(config.embed.model, "embed"))
    if config.embed.engine != "vllm" or config.embed.pooling != "auto" or not (folder / "config.json").is_file():
        return None
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return str(folder) if size <= config.serve.text_encoder_mib << 20 else None


def _best_variant(metrics: pa.Table, servable: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The best on validation of the variants that can be served, and a warning where that is not the best of all."""
    results = compare(metrics, None, SELECTION_CUTOFF)
    chosen = best_on_validation(results)
    best = best_on_validation(result for result in results if result.name in servable)
    if best is None:
        found = f"nothing was held out for validation, so {servable[0]}, the first variant, is served as the best"
        return servable[0], (f"{found}; set serve.variant to serve another.",) if len(servable) > 1 else ()
    if chosen is not None and chosen.name != best.name:
        found = f"{chosen.name} is best on validation ({chosen.valid_ndcg:.4f}) but has no vectors of users to serve"
        return best.name, (f"{found}, so {best.name} ({best.valid_ndcg:.4f}), the best that has, is served.",)
    return best.name, ()


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
    seen = read_splits(prepare).seen
    vectors, lists = read_served(fit, len(users), len(items))
    return Contents(
        user_vectors=vectors.user_vectors,
        item_vectors=vectors.item_vectors,
        seen_offsets=seen.offsets,
        seen_items=seen.items,
        popularity=seen.item_popularity.astype(np.int64),
        users=users,
        items=items,
        lists=lists,
    )


def _data_name(config: Config) -> str:
    if config.data.path is None:
        return config.data.format
    return f"{os.path.basename(config.data.path.rstrip('/'))} ({config.data.format})"

"""Fit a recommender to data frames, in this process: no Ray, no files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import hnlm_ray
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.accounting import raw_data
from hnlm_ray.data.conversion import Frame, table_of
from hnlm_ray.data.features import Kind, features_of_table
from hnlm_ray.data.prepared import Splits
from hnlm_ray.data.raw import RAW_ITEMS
from hnlm_ray.data.table import raw_of_table
from hnlm_ray.errors import ConfigError, DataError
from hnlm_ray.frames.names import Names, as_text
from hnlm_ray.frames.recommender import FrameRecommender
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import BundleAbout
from hnlm_ray.tables import SPLITS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from hnlm_ray.training.callbacks import Callback
    from hnlm_ray.training.side_information import SideInformation

__all__ = ["fit"]

_NAME = "fit"


def fit(
    interactions: Frame,
    items: Frame | None = None,
    *,
    variant: str | Mapping[str, Any] | VariantConfig = "lightgcn",
    seed: int = 0,
    valid: float = 0.1,
    columns: Mapping[str, str | None] | None = None,
    item_vectors: npt.NDArray[np.floating] | None = None,
    users: Frame | None = None,
    features: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "cpu",
    callbacks: Sequence[Callback] = (),
) -> FrameRecommender:
    """Fit one variant to a data frame.

    Args:
        interactions: of pandas, Polars or Arrow: a row per interaction with a user and an item, ids of any type, and
            perhaps a ``timestamp`` and other columns of ``data.columns``.
        items: a row per item with its id and ``title``, and perhaps ``brand``, ``categories``, ``description``; None
            calls items by their ids.
        variant: what to train: the name of a backbone, or the options of a variant, for example ``{"sampler": {"name":
            "dns", "candidates": 8}}``; docs/training.md has them all.
        seed: of the fit, and of the choice of the interactions that are held out.
        valid: share of each user's interactions on which the epoch is chosen.
        columns: other names of columns, for example ``{"user": "userId", "item": "movieId"}``.
        item_vectors: (rows of ``items``, t) text vectors, for variants with ``item_text``, ``text_contrast`` or an
            ``item_graph`` of the source ``text``.
        users: a row per user with their id, for ``features``.
        features: columns of ``items`` and ``users`` that the variant reads, for example ``{"items": {"numeric":
            ["price"], "categorical": ["brand"]}, "users": {"categorical": ["country"]}}``.
        device: where it is trained, for example ``cuda``.
        callbacks: told of each epoch and validation, see :class:`hnlm_ray.training.callbacks.Callback`; baselines in
            closed form have neither.

    Raises:
        ConfigError: an option is wrong, or the variant needs what a frame does not hold.
        DataError: a frame cannot be read, or nothing is left to train on.
        StageError: a callback failed.
    """
    from hnlm_ray.data.preparation import prepare_tables

    columns, features = columns or {}, features or {}
    config = _config(variant, seed, {"valid": valid, "test": 0.0}, columns, features, has_items=items is not None)
    chosen = config.train.variants[_NAME]
    _check(chosen)
    given = _raw(config, 0, interactions, "interactions"), _raw(config, 1, items, "items")
    raw = raw_data(*given, (["interactions"], ["items"]), config.data.max_bad_rows)
    prepared = prepare_tables(raw, config.data, seed)
    splits = Splits.of(prepared.interactions, len(prepared.users), len(prepared.items))
    names = Names.of(interactions, config.data.columns)
    texts = None if item_vectors is None else _of_catalogue(item_vectors, items, names, prepared.items)
    side = _side(chosen, prepared.interactions, splits, texts)
    side = replace(
        side,
        item_features=_features(config, "item", items, prepared.items),
        user_features=_features(config, "user", users, prepared.users),
    )
    vectors, metrics, history = _fitted(chosen, splits, seed, side, device, callbacks)
    about = BundleAbout(
        data="data frame",
        variant=str(chosen.backbone),
        seed=seed,
        config=chosen.model_dump(mode="json"),
        metrics=metrics,
        code_version=hnlm_ray.__version__,
    )
    seen = splits.seen
    contents = Contents(
        user_vectors=vectors["user_vectors"],
        item_vectors=vectors["item_vectors"],
        seen_offsets=seen.offsets,
        seen_items=seen.items,
        popularity=seen.item_popularity.astype(np.int64),
        users=prepared.users,
        items=prepared.items,
    )
    return FrameRecommender.of(contents, about, names, history, prepared.warnings)


def _config(
    variant: str | Mapping[str, Any] | VariantConfig,
    seed: int,
    shares: Mapping[str, float],
    columns: Mapping[str, str | None],
    features: Mapping[str, Mapping[str, Any]],
    *,
    has_items: bool,
) -> Config:
    """The configuration of a run with this one variant; the frames stand for its files."""
    if isinstance(variant, VariantConfig):
        variant = variant.model_dump(mode="json")
    options = {"backbone": variant} if isinstance(variant, str) else dict(variant)
    options |= {f"{kind.removesuffix('s')}_features": True for kind in features}
    given = {
        "seed": seed,
        "data.format": "table",
        "data.path": "frames",
        "data.columns": dict(columns),
        "data.features": dict(features),
        "data.items": None if has_items else "",
        "data.split": dict(shares),
        "train.variants": {_NAME: options},
    }
    return load_config([], [f"{path}={json.dumps(value)}" for path, value in given.items()])


def _features(
    config: Config, kind: Kind, frame: Frame | None, known: pa.Table
) -> csr_array[np.float32, tuple[int, int]] | None:
    """What a variant reads of the columns of items or of users; None where it reads none."""
    from hnlm_ray.models.features import feature_rows

    if not getattr(config.train.variants[_NAME], f"{kind}_features"):
        return None
    if frame is None:
        raise DataError(f"features of {kind}s are named, and there is no frame of {kind}s", f"give {kind}s")
    table = features_of_table(table_of(frame, f"{kind}s"), config.data, kind, known, f"{kind}s")
    return feature_rows(table, len(known))


def _check(variant: VariantConfig) -> None:
    """Whether a frame holds what the variant needs, and whether its model can recommend by itself."""
    if not variant.backbone.has_user_vectors:
        raise ConfigError(f"{variant.backbone.name} has no vectors of users to recommend by", "fit another backbone")
    for option, is_used in (("semantic", variant.semantic is not None), ("guard", variant.guard is not None)):
        if is_used:
            raise ConfigError(f"{option} reads what other stages of a run write", "use `hnlm run` for such a variant")
    graph = variant.item_graph
    if graph is not None and graph.source != "text":
        raise ConfigError(f"item_graph.source={graph.source} is made by a run", "use text, with item_vectors")


def _raw(config: Config, kind: int, frame: Frame | None, name: str) -> pa.Table:
    if frame is None:
        return RAW_ITEMS.empty_table()
    return raw_of_table(config.data, kind, table_of(frame, name), name)


def _of_catalogue(
    vectors: npt.NDArray[np.floating], items: Frame | None, names: Names, catalogue: pa.Table
) -> npt.NDArray[np.float32]:
    """Vectors (I, t) of the items of the catalogue, from those of the rows of a frame."""
    table = table_of(items, "items") if items is not None else pa.table({names.item: pa.array([], pa.string())})
    if len(vectors) != len(table):
        raise DataError(f"there are {len(vectors)} item_vectors for {len(table)} items", "give one for each row")
    column = names.item if names.item in table.column_names else "item_id"
    places = pc.index_in(catalogue["item_id"], value_set=as_text(table[column]))
    if places.null_count:
        raise DataError(f"{places.null_count} items of the interactions have no vector", "add them to items")
    found: npt.NDArray[np.float32] = np.asarray(vectors, dtype=np.float32)[places.to_numpy()]
    return found


def _side(
    variant: VariantConfig, interactions: pa.Table, splits: Splits, texts: npt.NDArray[np.float32] | None
) -> SideInformation:
    """What a variant reads: histories, text vectors (I, t) and the graph of items that are similar by them."""
    from hnlm_ray.data.histories import Histories
    from hnlm_ray.training.side_information import SideInformation

    if not variant.backbone.is_sequential:
        return SideInformation(item_texts=texts, item_graph=_item_graph(variant, texts))
    ordered = [Histories.from_table(interactions, splits.train.n_users, known) for known in (SPLITS[:1], SPLITS[:2])]
    return SideInformation(
        item_texts=texts,
        item_graph=_item_graph(variant, texts),
        histories=ordered[0],
        seen_histories=ordered[1],
    )


def _item_graph(
    variant: VariantConfig, texts: npt.NDArray[np.float32] | None
) -> csr_array[np.float32, tuple[int, int]] | None:
    from hnlm_ray.kernels.neighbours import nearest_rows
    from hnlm_ray.kernels.vectors import unit_rows
    from hnlm_ray.models.item_graph import normalised_neighbours
    from hnlm_ray.tables import NEIGHBOURS

    if variant.item_graph is None or texts is None:
        return None
    count = variant.item_graph.neighbours
    near = nearest_rows(unit_rows(texts), 0, len(texts), count)
    table = pa.table([near.rows, near.neighbours, near.similarities], schema=NEIGHBOURS)
    return normalised_neighbours(table, len(texts), count)


def _fitted(
    variant: VariantConfig,
    splits: Splits,
    seed: int,
    side: SideInformation,
    device: str,
    callbacks: Sequence[Callback],
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, float], list[dict[str, Any]]]:
    """Vectors of users and items, figures on validation, and the learning curve."""
    from hnlm_ray.training.baseline import compute
    from hnlm_ray.training.fit import fit as train

    if not variant.is_trained:
        baseline = compute(variant.backbone, splits.train, splits.valid)
        return baseline.tensors, {"valid ndcg@20": baseline.valid_ndcg}, []
    result = train(splits.train, splits.valid, variant, seed, side=side, device=device, callbacks=callbacks)
    vectors = {"user_vectors": result.known_by(seen=True), "item_vectors": result.item_vectors}
    progress = result.progress
    return vectors, {"valid ndcg@20": progress.best_ndcg}, [vars(record) for record in progress.history]

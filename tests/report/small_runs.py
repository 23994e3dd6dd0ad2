"""Run folders as small as a comparison needs them, with figures that the test chooses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.tables import HISTORY, METRICS, STRATA, USER_METRICS

N_USERS, N_ITEMS = 30, 12
Values = Mapping[str, Mapping[int, npt.NDArray[np.float64]]]
"""NDCG of each user by variant and seed; Recall is half of it."""


def values(level: float, seed: int) -> npt.NDArray[np.float64]:
    """Figures of all users around a level."""
    return np.clip(level + np.random.default_rng(seed).normal(0, 0.05, N_USERS), 0.0, 1.0)


def write_run(folder: Path, ndcg: Values, data: str = "data", **options: Any) -> RunStore:
    """A finished run with every table that is compared.

    Args:
        folder: where.
        ndcg: figures of every fit.
        data: fingerprint of ``prepare``; the tables are the same whatever it is, unless ``titles`` differ.
        options: ``variants`` (their options), ``strata`` and ``beyond`` (False leaves them out), ``title`` of items.
    """
    store = RunStore(str(folder))
    variants = options.get("variants") or {name: VariantConfig() for name in ndcg}
    stages = {StageKey("prepare"): _prepare(store, data, options.get("user", "u"))}
    for variant, seeds in ndcg.items():
        for seed, row in seeds.items():
            stages[StageKey("train", variant, seed)] = _fit(store, variant, seed, float(row.mean()))
    beyond = options.get("beyond", True)
    stages[StageKey("evaluate")] = _evaluate(store, ndcg, strata=options.get("strata", True), beyond=beyond)
    shown = {name: variant.model_dump(mode="json") for name, variant in variants.items()}
    record = {
        "config": {"train": {"variants": shown}},
        "stages": [{**key.fields(), "fingerprint": stage.fingerprint} for key, stage in stages.items()],
    }
    store.write_text("run.json", json.dumps(record))
    return store


def _prepare(store: RunStore, fingerprint: str, user: str) -> Artifact:
    artifact = _new(store, "prepare", fingerprint)
    users, items = np.arange(N_USERS), np.arange(N_ITEMS)
    artifact.write("users", pa.table({"user": users, "user_id": [f"{user}{number}" for number in users]}))
    text = {name: [""] * N_ITEMS for name in ("title", "brand", "description")}
    ids = {"item": items, "item_id": [f"i{item}" for item in items], "categories": [[]] * N_ITEMS}
    artifact.write("items", pa.table({**ids, **text}))
    n = 3 * N_USERS
    pairs = {"user": np.repeat(users, 3), "item": np.tile([0, 1, 2], N_USERS)}
    rest = {"rating": np.ones(n), "timestamp": np.arange(n), "review": [""] * n}
    artifact.write("interactions", pa.table({**pairs, **rest, "split": ["train", "valid", "test"] * N_USERS}))
    return _done(artifact, {})


def _fit(store: RunStore, variant: str, seed: int, level: float) -> Artifact:
    artifact = _new(store, f"train.{variant}.s{seed}", "f")
    epochs = np.arange(1, 5)
    rows = [{"epoch": int(epoch), "seconds": 1.5 * epoch, "loss": 1 / epoch, "valid_ndcg": level} for epoch in epochs]
    artifact.write("history", pa.Table.from_pylist(rows, schema=HISTORY))
    counts = {"seconds": 6.0 + seed, "epochs": 4, "best_epoch": 2 + seed, "parameters": 1000}
    return _done(artifact, counts)


def _evaluate(store: RunStore, ndcg: Values, *, strata: bool, beyond: bool) -> Artifact:
    artifact = _new(store, "evaluate", "e")
    metrics: list[dict[str, Any]] = []
    users, groups = [], []
    fits = [(name, seed, row) for name, seeds in ndcg.items() for seed, row in seeds.items()]
    for name, seed, row in [*fits, ("random", None, np.full(N_USERS, 0.01))]:
        mean = float(row.mean())
        figures = {"ndcg": mean, "recall": mean / 2} | ({"gini": 1 - mean, "popularity": 9 * mean} if beyond else {})
        for split in ("valid", "test"):
            key = {"variant": name, "seed": seed, "split": split, "k": 20}
            metrics += [{**key, "metric": metric, "value": value} for metric, value in figures.items()]
        if seed is not None:
            users += [
                {"variant": name, "seed": seed, "user": user, "ndcg": value, "recall": value / 2}
                for user, value in enumerate(row.tolist())
            ]
        for kind in ("user_activity", "item_popularity"):
            bounds = [{"stratum": 0, "low": 1, "high": 2}, {"stratum": 1, "low": 3, "high": 9}]
            key = {"variant": name, "seed": seed, "kind": kind, "size": 5, "metric": "ndcg", "k": 20, "value": mean}
            groups += [{**key, **bound} for bound in bounds]
    artifact.write("metrics", pa.Table.from_pylist(metrics, schema=METRICS))
    artifact.write("user_metrics", pa.Table.from_pylist(users, schema=USER_METRICS))
    if strata:
        artifact.write("strata", pa.Table.from_pylist(groups, schema=STRATA))
    return _done(artifact, {})


def _new(store: RunStore, stage: str, fingerprint: str) -> Artifact:
    artifact = store.artifact(stage, fingerprint)
    artifact.create()
    return artifact


def _done(artifact: Artifact, counts: Mapping[str, float]) -> Artifact:
    artifact.commit({"seconds": 1.0, "rows": {}, "counts": dict(counts)})
    return artifact

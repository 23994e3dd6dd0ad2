"""A small run whose stages up to ``evaluate`` are written by hand, with a known world behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.numpy import save

from hnlm_ray.config.tree import Config, EvaluateConfig, TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.run.stage import StageContext
from hnlm_ray.run.store import Artifact, RunStore

N_USERS, N_ITEMS, DIM = 60, 40, 4
HISTORY, HELD_OUT = 10, 2  # train items of a user; items of a user in valid, and in test


class FinishedRun:
    """Writes artefacts into a folder.

    Attributes:
        config: two variants and two seeds, blocks of 7 users so that there are several.
        inputs: artefacts by stage name.
        probability: the truth (N_USERS, N_ITEMS).
    """

    def __init__(self, folder: Path) -> None:
        self._store = RunStore(str(folder))
        self._rng = np.random.default_rng(0)
        self.config = Config(
            run=str(folder),
            train=TrainConfig(variants={"uniform": VariantConfig(), "hnlm": VariantConfig()}, seeds=(0, 1)),
            evaluate=EvaluateConfig(cutoffs=(5, 10), user_block=7),
        )
        self.inputs: dict[str, Artifact] = {}
        self.users = self._rng.normal(size=(N_USERS, DIM))
        self.items = self._rng.normal(size=(N_ITEMS, DIM))
        self.probability = (1 / (1 + np.exp(-self.users @ self.items.T))).astype(np.float32)

    def context(self, stage: str) -> StageContext:
        """What the pipeline would hand to a stage."""
        return StageContext(self.config, self.inputs, self.artifact(stage))

    def artifact(self, stage: str) -> Artifact:
        """An empty folder of a stage."""
        artifact = self._store.artifact(stage, "abc")
        artifact.create()
        return artifact

    def commit(self, artifact: Artifact, rows: dict[str, int], counts: dict[str, int | float] | None = None) -> None:
        """Make an artefact an input of the stages to come."""
        artifact.commit({"seconds": 2.0, "rows": rows, "counts": counts or {}})
        self.inputs[artifact.stage] = artifact

    def prepare(self, title: str = "title", truth: bool = True) -> None:
        """Tables of ``prepare``; every title starts with ``title``, every user has something held out."""
        artifact = self.artifact("prepare")
        users, items = np.arange(N_USERS, dtype=np.int32), np.arange(N_ITEMS, dtype=np.int32)
        artifact.write("users", pa.table({"user": users, "user_id": [f"u{user}" for user in users]}))
        words = {"title": [f"{title} {item}" for item in items], "categories": [["Home", "Tea"]] * N_ITEMS}
        blank = {name: [""] * N_ITEMS for name in ("brand", "description")}
        artifact.write("items", pa.table({"item": items, "item_id": [f"i{item}" for item in items], **words, **blank}))
        likes = np.log(self.probability) + self._rng.gumbel(size=self.probability.shape)
        per_user = HISTORY + 2 * HELD_OUT
        chosen = np.argsort(-likes, axis=1)[:, :per_user]
        n = N_USERS * per_user
        split = np.array(["train"] * HISTORY + ["valid"] * HELD_OUT + ["test"] * HELD_OUT)
        interactions = {"user": np.repeat(users, per_user), "item": chosen.ravel(), "split": np.tile(split, N_USERS)}
        rest = {"rating": np.ones(n), "timestamp": np.arange(n), "review": [""] * n}
        artifact.write("interactions", pa.table({**interactions, **rest}))
        if truth:
            pairs = {"user": np.repeat(users, N_ITEMS), "item": np.tile(items, N_USERS)}
            artifact.write("truth", pa.table({**pairs, "probability": self.probability.ravel()}))
        self.commit(artifact, {"users": N_USERS, "items": N_ITEMS, "interactions": n}, {"duplicate_pairs": 3})

    def fits(self) -> None:
        """Every fit: the true vectors with noise, and a learning curve."""
        epochs = np.arange(6)
        valid = pa.array([None if epoch % 2 else 0.1 + epoch / 100 for epoch in epochs], pa.float64())
        for variant in self.config.train.variants:
            for seed in self.config.train.seeds:
                artifact = self.artifact(f"train.{variant}.s{seed}")
                noisy = self.users + self._rng.normal(0, 0.5, self.users.shape)
                vectors = {"user_vectors": noisy.astype(np.float32), "item_vectors": self.items.astype(np.float32)}
                artifact.write_bytes("model.safetensors", save(vectors))
                losses = dict.fromkeys(("loss", "ranking_loss", "contrastive_loss"), 1.0 / (epochs + 1))
                curve = {"epoch": epochs, "seconds": epochs + 1.0, **losses}
                artifact.write("history", pa.table({**curve, "valid_ndcg": valid, "valid_recall": valid}))
                self.commit(artifact, {"history": len(epochs)})

    def language_model(self, summary: str = "summary", answer: str = "answer") -> None:
        """What the language model would have written, with one rejected answer in each table."""
        self._answers(
            "item_profiles", {"item": np.arange(N_ITEMS), "summary": [f"{summary} {i}" for i in range(N_ITEMS)]}
        )
        self._answers(
            "user_profiles", {"user": np.arange(N_USERS), "summary": [f"{summary} {u}" for u in range(N_USERS)]}
        )
        pairs = {"pair": np.arange(N_USERS) * N_ITEMS, "user": np.arange(N_USERS), "item": np.zeros(N_USERS)}
        self._answers("negatives", {**pairs, "answer": [f"{answer} {user}" for user in range(N_USERS)]})
        vectors = self.items / np.linalg.norm(self.items, axis=1, keepdims=True)
        artifact = self.artifact("vectors")
        lists = pa.array(list(vectors.astype(np.float16)), pa.list_(pa.float16()))
        artifact.write("item_vectors", pa.table({"item": np.arange(N_ITEMS), "vector": lists}))
        self.commit(artifact, {"item_vectors": N_ITEMS})
        self._ground(pairs, answer)

    def _ground(self, pairs: dict[str, np.ndarray], answer: str) -> None:
        """User u is matched to item u % N_ITEMS; the last ten answers are out of the catalogue."""
        matched = np.arange(N_USERS) < N_USERS - 10
        artifact = self.artifact("ground")
        columns = {
            "answer": [f"{answer} {user}" for user in range(N_USERS)],
            "status": np.where(matched, "matched", "out_of_catalogue"),
            "step": np.where(matched, "fuzzy", ""),
            "similarity": pa.array(np.full(N_USERS, 0.9), mask=~matched),
            "negative": pa.array(np.arange(N_USERS) % N_ITEMS, mask=~matched),
        }
        artifact.write("grounded", pa.table({**pairs, **columns}))
        self.commit(artifact, {"grounded": N_USERS})

    def _answers(self, stage: str, columns: dict[str, object]) -> None:
        n = len(next(iter(columns.values())))  # type: ignore[arg-type]
        status = ["ok"] * (n - 1) + ["invalid"]
        reason = [""] * (n - 1) + ["empty answer"]
        counted = {name: np.full(n, 10) for name in ("attempts", "prompt_tokens", "output_tokens")}
        artifact = self.artifact(stage)
        texts = {name: [""] * n for name in ("reasoning", "excerpt")}
        artifact.write(stage, pa.table({**columns, **texts, "status": status, "reason": reason, **counted}))
        self.commit(artifact, {stage: n})

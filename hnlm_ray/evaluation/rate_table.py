"""The table ``false_negatives`` of a run on generated data: rate and hardness of every source of negatives.

Hardness is the mean score of the negatives under the teacher. It makes sources comparable: a lower rate is no merit if
it comes from easier negatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.samplers import PopularitySamplerOptions, UniformOptions
from hnlm_ray.config.tree import Config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.evaluation.false_negatives import (
    STATIC,
    Draws,
    dns_at_hardness,
    dns_rate,
    nearest_items,
    pairs_rate,
    scored_rate,
    static_rate,
)
from hnlm_ray.evaluation.inputs import read_truth
from hnlm_ray.evaluation.outcome import defined
from hnlm_ray.models.fitted import training_vectors
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import Artifact
from hnlm_ray.samplers.guard import Guard
from hnlm_ray.tables import FALSE_NEGATIVES

__all__ = ["rate_table"]

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _World:
    """A finished run on generated data.

    Attributes:
        config: of the run.
        inputs: artifacts by stage.
        train: train interactions.
        truth: (U, I) the probability that the user likes the item.
        teacher: vectors (U, d) and (I, d) of the CF teacher; None where no variant can be one.
    """

    config: Config
    inputs: Mapping[str, Artifact]
    train: Interactions
    truth: Matrix
    teacher: tuple[Matrix, Matrix] | None

    def row(self, name: str, users: npt.NDArray[np.integer], items: npt.NDArray[np.integer]) -> dict[str, object]:
        """The row of given negatives; -1 stands for none."""
        found = items >= 0
        users, items = users[found], items[found]
        hardness = None
        if self.teacher is not None and len(users):
            hardness = float(np.einsum("pd,pd->p", self.teacher[0][users], self.teacher[1][items]).mean())
        rate = defined(pairs_rate(self.truth, users, items))
        return {"sampler": name, "rate": rate, "pairs": len(users), "hardness": hardness}

    def guard_of(self, variant: VariantConfig) -> Guard | None:
        """The guard of a variant; None where it has none."""
        if variant.guard is None:
            return None
        table = self.inputs[StageKey("guard", variant.guard.table).name].read("guard")
        return Guard.from_table(table, self.train.n_items, variant.guard)

    def dns_as_hard(self, name: str, hardness: float) -> dict[str, object]:
        """The row of DNS without a guard by the teacher, with as many candidates as give it a certain hardness."""
        assert self.teacher is not None
        candidates, rate = dns_at_hardness(self.truth, self.train, self.teacher, hardness)
        label = f"dns as hard as {name} (candidates={candidates:.1f})"
        return {"sampler": label, "rate": defined(rate), "pairs": len(self.train), "hardness": hardness}


def rate_table(
    config: Config,
    inputs: Mapping[str, Artifact],
    train: Interactions,
    teacher: tuple[Matrix, Matrix] | None = None,
    supervision: Mapping[str, npt.NDArray[np.int32]] | None = None,
) -> pa.Table:
    """The table ``false_negatives``.

    Args:
        config: of the run.
        inputs: ``prepare`` with the table ``truth``, every fit, the guards of variants and, where they exist,
            ``vectors``, ``ground`` and ``encode``.
        train: train interactions.
        teacher: vectors (U, d) and (I, d) that hardness is measured with; None leaves it, and what is compared at
            equal hardness, out.
        supervision: by strategy, the supervising item of each train pair, (pairs,) in their order, -1 for none.

    Raises:
        StageError: the table ``truth`` lacks a pair.
        StoreError: a fit lacks its vectors, or they do not belong to these users and items.
    """
    world = _World(config, inputs, train, read_truth(inputs["prepare"], train), teacher)
    chosen = [world.row(f"supervision: {name}", train.users, items) for name, items in (supervision or {}).items()]
    rows = [*_samplers(world), *_guarded(world), *_written(world), *chosen, *_tuned(world)]
    return pa.Table.from_pylist(rows, schema=FALSE_NEGATIVES)


def _samplers(world: _World) -> Iterator[dict[str, object]]:
    """Two reference samplers, and that of every variant trained on negatives, averaged over its seeds."""
    train, truth, config = world.train, world.truth, world.config
    rates = {
        str(sampler): [static_rate(truth, train, sampler)] for sampler in (UniformOptions(), PopularitySamplerOptions())
    }
    trained = {name: variant for name, variant in config.train.variants.items() if variant.backbone.takes_negatives}
    shown = [_label(variant) for variant in trained.values()]
    for name, variant in trained.items():
        label, guard = _label(variant), world.guard_of(variant)
        if guard is None and isinstance(variant.sampler, STATIC):
            rates.setdefault(label, [static_rate(truth, train, variant.sampler)])
            continue
        label = label if shown.count(label) == 1 else f"{label}, {name}"
        for seed in config.train.seeds_of(name):
            fit = world.inputs[StageKey("train", name, seed).name]
            vectors = training_vectors(fit, train, is_cosine=variant.loss.is_cosine)
            draws = Draws(variant.sampler, seed, _best_epoch(fit), guard)
            rates.setdefault(label, []).append(scored_rate(truth, train, draws, vectors))
    for label, values in rates.items():
        rate, hardness = float(np.mean(values)), None
        if label == str(UniformOptions()) and world.teacher is not None:
            scores = world.teacher[0] @ world.teacher[1].T
            hardness = defined(dns_rate(scores, train, world.teacher, candidates=1))
        yield {"sampler": label, "rate": defined(rate), "pairs": len(train), "hardness": hardness}


def _label(variant: VariantConfig) -> str:
    return f"{variant.sampler} guarded by {variant.guard.table}" if variant.guard else str(variant.sampler)


def _guarded(world: _World) -> Iterator[dict[str, object]]:
    """The sampler of each guarded variant with the teacher's scores, guarded, and DNS of the same hardness without."""
    if world.teacher is None:
        return
    scores = world.teacher[0] @ world.teacher[1].T
    for name, variant in world.config.train.variants.items():
        guard = world.guard_of(variant)
        if guard is None:
            continue
        draws, label = Draws(variant.sampler, guard=guard), f"{_label(variant)} as in {name}, by the teacher"
        rate, hardness = (scored_rate(values, world.train, draws, world.teacher) for values in (world.truth, scores))
        yield {
            "sampler": label, "rate": defined(rate), "pairs": len(world.train), "hardness": defined(hardness),
        }  # fmt: skip
        if defined(hardness) is not None:
            yield world.dns_as_hard(label, hardness)


def _written(world: _World) -> Iterator[dict[str, object]]:
    """The item nearest in text, and the negatives that the language model wrote."""
    if "vectors" in world.inputs:
        nearest = nearest_items(world.train, read_item_vectors(world.inputs["vectors"], world.train.n_items))
        yield world.row("nearest text", world.train.users, nearest)
    if "ground" in world.inputs:
        grounded = world.inputs["ground"].read("grounded", ["user", "status", "negative"])
        matched = grounded.filter(pc.equal(grounded["status"], "matched"))
        yield world.row("language model", matched["user"].to_numpy(), matched["negative"].to_numpy())


def _tuned(world: _World) -> Iterator[dict[str, object]]:
    """The nearest item to each vector of the tuned encoder, all that are written, and DNS of the same hardness."""
    if "encode" not in world.inputs or world.teacher is None:
        return
    encoded = world.inputs["encode"].read("encoded", ["user", "nearest"])
    users = encoded["user"].to_numpy()
    nearest = encoded["nearest"].combine_chunks().flatten().to_numpy().reshape(len(users), -1)
    for name, items in (("tuned vectors: nearest item", nearest[:, :1]), ("tuned vectors: all nearest", nearest)):
        row = world.row(name, np.repeat(users, items.shape[1]), items.ravel())
        yield row
        if isinstance(hardness := row["hardness"], float):
            yield world.dns_as_hard(name, hardness)


def _best_epoch(fit: Artifact) -> int:
    """The epoch whose vectors were kept, at least 1."""
    history = fit.read("history", ["epoch", "valid_ndcg"]).sort_by([("valid_ndcg", "descending")])  # nulls last
    return max(1, int(history["epoch"][0].as_py()))

"""Items that training has never seen, placed by their texts: by kriging, by nearest neighbours and by a linear map.

    python benchmarks/cold_items.py RUN                       # a run that is finished up to the stage `vectors`
    python benchmarks/cold_items.py RUN --texts vectors.described --against vectors --splits 3

For each split a tenth of the items and all their interactions are taken away, a variant with an item graph is trained
on the rest, and the removed items get vectors by their texts. Prints one JSON line with Recall@20 and NDCG@20, means
over users and splits: ``alone``, the removed items ranked among themselves; ``among_all``, the removed items ranked
among all items that the user has not met; ``everything``, the test items of both kinds. ``mean`` gives every removed
item the mean vector. ``--against`` places the same items, under the same fit, by other texts too (``against``), and
adds the p-value of the paired t-test over users between the two, each user averaged over the splits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.prepared import Splits, read_splits
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.evaluation.blocks import HeldOut, evaluate
from hnlm_ray.evaluation.significance import paired_t_test
from hnlm_ray.kernels.neighbours import nearest_rows
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.models.item_graph import normalised_neighbours
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import RunStore
from hnlm_ray.serving.bundle.cold_start import fit_text_map, new_item_vectors
from hnlm_ray.tables import NEIGHBOURS
from hnlm_ray.training.fit import fit
from hnlm_ray.training.side_information import SideInformation

K, NEIGHBOURS_OF_NEW = 20, 10
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """Items (n,) that training sees and items that it does not, and the interactions of both."""

    known: npt.NDArray[np.int64]
    new: npt.NDArray[np.int64]
    train: Interactions
    valid: Interactions

    @classmethod
    def drawn(cls, train: Interactions, valid: Interactions, seed: int) -> Split:
        """A tenth of the items, drawn by the seed, is new."""
        new = np.sort(np.random.default_rng([seed, 17]).choice(train.n_items, train.n_items // 10, replace=False))
        known = np.setdiff1d(np.arange(train.n_items), new)
        return cls(known, new, only(train, known), only(valid, known))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--texts", default="vectors", choices=["vectors", "vectors.described", "vectors.profiled"])
    parser.add_argument("--against", default=None, choices=["vectors", "vectors.described", "vectors.profiled"])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=16, help="of the sampler `dns`")
    chosen = parser.parse_args()
    artifacts = {key.name: one for key, one in RunRecord.read(RunStore(chosen.run), chosen.run).artifacts.items()}
    splits = read_splits(artifacts[StageKey("prepare").name])
    n_items = splits.train.n_items
    names = ("vectors", chosen.texts, chosen.against or chosen.texts)
    graph_texts, texts, others = (unit_rows(read_item_vectors(artifacts[name], n_items)) for name in names)
    options = {"epochs": chosen.epochs, "batch_size": 4096, "learning_rate": 0.005, "patience": 4}
    sampler = {"name": "dns", "candidates": chosen.candidates}
    variant = VariantConfig.model_validate({**options, "item_graph": {"source": "text"}, "sampler": sampler})
    measured = Measured(splits)
    for seed in range(chosen.splits):
        split = Split.drawn(splits.train, splits.valid, seed)
        users, items = trained(split, graph_texts[split.known], variant, seed)
        popularity = split.train.item_popularity.astype(np.int64)
        ways = dict(placed(texts[split.new], texts[split.known], items, popularity))
        if chosen.against:
            ways["against"] = next(placed(others[split.new], others[split.known], items, popularity))[1]  # kriging
        for name, vectors in ways.items():
            measured.add(name, vectors, (users, items), split)
    means = {name: round(float(np.mean(one)), 4) for name, one in measured.values.items()}
    report = {"benchmark": "cold_items", "texts": chosen.texts, "items": n_items, "splits": chosen.splits, **means}
    print(json.dumps(report | ({"against": chosen.against} | p_values(measured.of_users) if chosen.against else {})))


class Measured:
    """What is measured of every way to place new items.

    Attributes:
        values: by way, question and measure, one of each split.
        of_users: by way and question (n_users,) NDCG of each split, NaN for a user with nothing to find.
    """

    def __init__(self, splits: Splits) -> None:
        self._splits, self._everything = splits, joined(splits.train, splits.valid, splits.test)
        self.values: dict[str, list[float]] = {}
        self.of_users: dict[str, list[Floats]] = {}

    def add(self, name: str, new: Floats, fitted: tuple[Floats, Floats], split: Split) -> None:
        """Judge the vectors that a way gives to the new items of a split."""
        splits, everything, (users, items) = self._splits, self._everything, fitted
        whole = np.empty((splits.train.n_items, items.shape[1]), np.float32)
        whole[split.known], whole[split.new] = items, new
        met = joined(*(kept(one, split.known) for one in (splits.train, splits.valid)))
        alone = only(everything, split.new)
        for what, ranker, seen, relevant in (
            ("alone", VectorRanker(users, new), nothing(alone), alone),
            ("among_all", VectorRanker(users, whole), met, kept(everything, split.new)),
            ("everything", VectorRanker(users, whole), met, splits.test),
        ):
            found = evaluate(ranker, HeldOut("test", seen, relevant), (K,))
            for measure in ("recall", "ndcg"):
                self.values.setdefault(f"{name}_{what}_{measure}", []).append(found.mean(measure, K))
            of_all = np.full(splits.train.n_users, np.nan)
            of_all[found.users] = found.per_user["ndcg", K]
            self.of_users.setdefault(f"{name}_{what}", []).append(of_all)


def p_values(of_users: Mapping[str, list[Floats]]) -> dict[str, float]:
    """Of the difference in NDCG between kriging by the texts and by those they are held against."""
    found = {}
    for what in ("alone", "among_all", "everything"):
        pair = [np.array(of_users[f"{name}_{what}"]) for name in ("kriging", "against")]
        judged = ~np.isnan(pair[0]).all(axis=0)
        ours, theirs = (np.nanmean(one[:, judged], axis=0) for one in pair)
        found[f"p_{what}"] = paired_t_test(ours, theirs)
    return found


def placed(
    texts: Floats, known_texts: Floats, items: Floats, popularity: npt.NDArray[np.int64]
) -> Iterator[tuple[str, Floats]]:
    """The vectors of new items by each method."""
    trained_ones = popularity > 0
    near, vectors = known_texts[trained_ones], items[trained_ones]
    yield "kriging", new_item_vectors(texts, near, vectors)
    yield "neighbours", by_neighbours(texts, near, vectors)
    yield "linear", texts @ fit_text_map(known_texts, items, popularity)
    yield "mean", np.tile(vectors.mean(axis=0), (len(texts), 1))


def by_neighbours(texts: Floats, known_texts: Floats, vectors: Floats) -> Floats:
    """The mean of the nearest known items' vectors, weighted by cosine."""
    cosines = texts @ known_texts.T
    nearest = np.argpartition(-cosines, NEIGHBOURS_OF_NEW - 1, axis=1)[:, :NEIGHBOURS_OF_NEW]
    weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 1e-9)
    found: Floats = np.einsum("nk,nkd->nd", weights / weights.sum(axis=1, keepdims=True), vectors[nearest])
    return found.astype(np.float32)


def trained(split: Split, texts: Floats, variant: VariantConfig, seed: int) -> tuple[Floats, Floats]:
    """Vectors of the users and of the known items."""
    assert variant.item_graph is not None
    count = variant.item_graph.neighbours
    found = nearest_rows(texts, 0, len(texts), count)
    columns = (found.rows, found.neighbours, found.similarities)
    table = pa.table(dict(zip(NEIGHBOURS.names, columns, strict=True)), schema=NEIGHBOURS)
    graph = normalised_neighbours(table, len(texts), count)
    result = fit(split.train, split.valid, variant, seed, side=SideInformation(item_graph=graph))
    return result.user_vectors, result.item_vectors


def only(pairs: Interactions, items: npt.NDArray[np.int64]) -> Interactions:
    """The interactions with some items, which are numbered anew."""
    numbers = np.full(pairs.n_items, -1, np.int32)
    numbers[items] = np.arange(len(items), dtype=np.int32)
    there = numbers[pairs.items] >= 0
    return Interactions.from_pairs(pairs.users[there], numbers[pairs.items[there]], pairs.n_users, len(items))


def kept(pairs: Interactions, items: npt.NDArray[np.int64]) -> Interactions:
    """The interactions with some items, which keep their numbers."""
    there = np.isin(pairs.items, items)
    return Interactions.from_pairs(pairs.users[there], pairs.items[there], pairs.n_users, pairs.n_items)


def joined(*parts: Interactions) -> Interactions:
    users, items = (np.concatenate([getattr(one, name) for one in parts]) for name in ("users", "items"))
    return Interactions.from_pairs(users, items, parts[0].n_users, parts[0].n_items)


def nothing(pairs: Interactions) -> Interactions:
    none = np.empty(0, np.int32)
    return Interactions.from_pairs(none, none, pairs.n_users, pairs.n_items)


if __name__ == "__main__":
    main()

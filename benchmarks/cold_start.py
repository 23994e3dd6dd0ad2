"""People whom training has not seen, as the service answers them, against what it answers to those whom it has.

    python benchmarks/cold_start.py -c configs/demo.yaml        # after `hnlm run` with the same arguments

Each user of the run's bundle is asked for as a stranger: by their own history (``folded_in``) and by their profile
alone (``profile``). Prints one JSON line: how many of their trained 20 best items the folded-in ones share, and the
recall of held-out test items among the 20 best. The map that reads profiles is fitted on half of the users and judged
on the other half, beside the one from the items' texts that a bundle without profiles has. Then a text is asked for
that names a category, in several forms: the share of the ten best items that are of this category, per category.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.load import load_config
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.kernels.ranking import ranked_block
from hnlm_ray.run.plan import plan
from hnlm_ray.run.stage import StageKey
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.cold_start import fit_profile_map, fit_text_map, history_features
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.serving.recommend.text_encoder import TextEncoder

K = 20
FORMS = (
    "Enjoys {0}, mostly minimal things.",
    "Enjoys {0} and {0}, mostly minimal and compact things.",
    "{0}",
    "I love {0}.",
)
"""Texts about a category: as the demo's profiles are written, and as they are not."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", type=Path, action="append", default=[])
    parser.add_argument("overrides", nargs="*")
    chosen = parser.parse_args()
    config = load_config(chosen.config, chosen.overrides)
    artifacts = plan(config).artifacts()
    bundle = load_bundle(artifacts[StageKey("bundle", config.served[0]).name].path)
    contents, test = bundle.contents, read_splits(artifacts["prepare"]).test
    seen = Interactions(contents.seen_offsets, contents.seen_items, contents.n_items)
    items, popularity = contents.item_vectors, contents.popularity

    def best(vectors: npt.NDArray[np.float32], users: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        everybody = np.zeros((contents.n_users, items.shape[1]), np.float32)
        everybody[users] = vectors
        return ranked_block(everybody, items.copy(), seen, K).items[users]  # the bundle's own array is read-only

    users = np.flatnonzero((np.diff(seen.offsets) > 0) & (np.diff(test.offsets) > 0))
    features = history_features(items, popularity, seen.offsets, seen.items)[users]
    trained, folded = best(contents.user_vectors[users], users), best(features @ bundle.fold_in, users)
    report = {
        "benchmark": "cold_start",
        "bundle": bundle.info.version,
        "users": len(users),
        "overlap_folded_in": round(overlap(trained, folded), 3),
        "recall_trained": round(recall(trained, users, test), 4),
        "recall_folded_in": round(recall(folded, users, test), 4),
        "recall_popular": round(recall(popular(popularity, users, seen), users, test), 4),
    }
    if bundle.encoder is not None and "user_profiles" in artifacts:
        profiles = artifacts["user_profiles"].read("user_profiles").to_pandas().set_index("user")
        users = np.array([user for user in users if profiles["status"].get(user) == "ok"])
        encoder = TextEncoder(bundle.encoder)
        texts = np.stack([encoder.encode(profiles["summary"][user]) for user in users])
        fitted, judged = np.arange(len(users)) % 2 == 0, np.arange(len(users)) % 2 == 1
        described = artifacts["item_profiles"].read("item_profiles").to_pandas()
        described = described[(described["status"] == "ok") & (popularity[described["item"]] > 0)]
        about_items = np.stack([encoder.encode(text) for text in described["summary"]]), items[described["item"]]
        by_profiles = fit_profile_map(texts[fitted], contents.user_vectors[users[fitted]], about_items)
        vectors = read_item_vectors(artifacts["vectors"], contents.n_items).astype(np.float32)
        by_items, people = fit_text_map(vectors, items, popularity), users[judged]
        report |= {
            "judged": len(people),
            "judged_trained": round(recall(best(contents.user_vectors[people], people), people, test), 4),
            "judged_popular": round(recall(popular(popularity, people, seen), people, test), 4),
            "judged_profile": round(recall(best(texts[judged] @ by_profiles, people), people, test), 4),
            "judged_profile_by_items": round(recall(best(texts[judged] @ by_items, people), people, test), 4),
        }
    if bundle.encoder is not None:
        report["of_the_category"] = {form: category_shares(Recommender(bundle), form) for form in FORMS}
    print(json.dumps(report))


def category_shares(recommender: Recommender, form: str) -> dict[str, float]:
    """The share of the ten best items for a text that are of the category it names, by category, and their mean.

    Args:
        recommender: with a text encoder.
        form: the text, with ``{0}`` for the category's name in lower case.
    """
    rows = recommender.bundle.contents.items.select(["item_id", "categories"]).to_pylist()
    of_item = {row["item_id"]: row["categories"] for row in rows}
    shares = {}
    for name in sorted({names[-1] for names in of_item.values() if names}):
        best = recommender.recommend_from_text(form.format(name.lower())).items
        shares[name] = float(np.mean([name in of_item[item.item_id] for item in best]))
    return {"mean": round(float(np.mean(list(shares.values()))), 2), **shares}


def popular(counts: npt.NDArray[np.int64], users: npt.NDArray[np.int64], seen: Interactions) -> npt.NDArray[np.int32]:
    """The most popular items that each user has not met."""
    vectors = counts.astype(np.float32)[:, None]
    return ranked_block(np.ones((len(seen.offsets) - 1, 1), np.float32), vectors, seen, K).items[users]


def overlap(first: npt.NDArray[np.int32], second: npt.NDArray[np.int32]) -> float:
    """Mean share of items in common."""
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return float(np.mean([len(set(one) & set(other)) / len(one) for one, other in pairs]))


def recall(found: npt.NDArray[np.int32], users: npt.NDArray[np.int64], test: Interactions) -> float:
    """Mean share of a user's test items that were found."""
    held = [test.items[test.offsets[user] : test.offsets[user + 1]] for user in users]
    return float(np.mean([np.isin(mine, row).mean() for mine, row in zip(held, found, strict=True)]))


if __name__ == "__main__":
    main()

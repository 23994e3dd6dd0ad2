"""Answers of the recommender as plain dictionaries of the types in :mod:`hnlm_ray.serving.http.types`."""

from __future__ import annotations

from typing import Any

from hnlm_ray.serving.recommend.explanation import Explanation
from hnlm_ray.serving.recommend.live import Live, Served
from hnlm_ray.serving.recommend.results import Ranking

__all__ = [
    "Answer",
    "bundle_answer",
    "explain_answer",
    "item_answer",
    "named_item",
    "ranked_items",
    "recommend_answer",
    "user_answer",
    "with_bundle",
]

_MOST_HISTORY = 200

Answer = dict[str, Any]


def with_bundle(served: Served, answer: Answer) -> Answer:
    """The answer together with the name and version of its bundle."""
    return {**answer, "bundle": served.name, "bundle_version": served.version}


def ranked_items(served: Served, ranking: Ranking) -> list[Answer]:
    """The items of a ranking with ids, titles and scores."""
    ids, titles = served.recommender.catalogue.ids, served.recommender.catalogue.titles
    lines = zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True)
    return [{"item_id": ids[item], "title": titles[item], "score": score} for item, score in lines]


def named_item(served: Served, item: int) -> Answer:
    """Id and title of an item, by number."""
    catalogue = served.recommender.catalogue
    return {"item_id": catalogue.ids[item], "title": catalogue.titles[item]}


def recommend_answer(served: Served, user_id: str | None, ranking: Ranking) -> Answer:
    """:class:`hnlm_ray.serving.http.types.RecommendAnswer`."""
    items = ranked_items(served, ranking)
    return with_bundle(served, {"user_id": user_id, "items": items, "source": ranking.source})


def explain_answer(served: Served, user_id: str, found: Explanation) -> Answer:
    """:class:`hnlm_ray.serving.http.types.ExplainAnswer`."""
    row = served.recommender.users[user_id]
    negatives = [
        {
            "beside": named_item(served, one.beside),
            "answer": one.answer,
            "reasoning": one.reasoning,
            "item": None if one.item is None else named_item(served, one.item),
            "rank": one.rank,
        }
        for one in found.negatives
    ]
    answer = {
        "user_id": user_id,
        "item": named_item(served, found.item),
        "score": found.score,
        "rank": found.rank,
        "user_profile": served.explainer.user_profile(row),
        "item_profile": served.explainer.item_profile(found.item),
        "because": [{**named_item(served, item), "similarity": cosine} for item, cosine in found.because],
        "negatives": negatives,
    }
    return with_bundle(served, answer)


def user_answer(served: Served, user_id: str) -> Answer:
    """:class:`hnlm_ray.serving.http.types.UserAnswer`; KeyError for an unknown user."""
    history = served.recommender.history(user_id)
    answer = {
        "user_id": user_id,
        "interactions": len(history),
        "history": [named_item(served, item) for item in history[:_MOST_HISTORY].tolist()],
        "profile": served.explainer.user_profile(served.recommender.users[user_id]),
    }
    return with_bundle(served, answer)


def item_answer(served: Served, item_id: str) -> Answer:
    """:class:`hnlm_ray.serving.http.types.ItemAnswer`; KeyError for an item that the catalogue lacks."""
    catalogue = served.recommender.catalogue
    item = catalogue[item_id]
    row = catalogue.row(item)
    answer = {
        **{name: row[name] for name in ("item_id", "title", "brand", "categories", "description")},
        "interactions": int(catalogue.popularity[item]),
        "available": catalogue.is_available(item),
        "profile": served.explainer.item_profile(item),
    }
    return with_bundle(served, answer)


def bundle_answer(live: Live, served: Served) -> Answer:
    """:class:`hnlm_ray.serving.http.types.BundleAnswer`."""
    info = served.recommender.info
    return {
        "name": served.name,
        "version": served.version,
        "share": live.share_of_users(served.name),
        "shadow": live.is_shadow(served.name),
        "data": info.about.data,
        "variant": info.about.variant,
        "users": info.users,
        "items": info.items,
        "reads_text": served.recommender.reads_text,
    }

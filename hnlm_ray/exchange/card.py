"""The model card of what is pushed: data, licence, figures with their intervals, intended use, limits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hnlm_ray import __version__
from hnlm_ray.exchange.figures import Figure
from hnlm_ray.exchange.shipment import Shipment
from hnlm_ray.report.comparison import ACCURACY

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

__all__ = ["model_card"]

_SHOWN = ("ndcg", "recall", "precision", "hit_rate", "mrr", "map", "coverage")
"""Metrics that the card shows, in this order."""

_MEANINGS = {
    "valid_loss": "loss on the validation pairs",
    "hit_10": "share of validation pairs with the supervising item among the ten nearest",
    "nearer": "share of validation pairs that are nearer to the supervising item than to their own",
}


def model_card(shipment: Shipment, repo: str, licence: str | None, figures: Sequence[Figure]) -> str:
    """The content of ``README.md``.

    Args:
        shipment: what is pushed.
        repo: for example ``somebody/shop``.
        licence: its identifier on the hub; None where none has been chosen.
        figures: of a bundle.
    """
    from huggingface_hub import ModelCard

    name = repo.rpartition("/")[2]
    sections = _of_bundle(shipment, repo, figures) if shipment.bundle is not None else _of_encoder(shipment, repo)
    sections["Licence"] = f"`{licence}`." if licence else "No licence has been chosen: all rights are reserved."
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    header = f"---\n{_metadata(shipment, name, licence, figures).to_yaml()}\n---\n\n"
    made = f"Written by `hnlm push`, hnlm-ray {__version__}."
    return str(ModelCard(f"{header}# {name}\n\n{body}\n\n{made}\n"))


def _metadata(shipment: Shipment, name: str, licence: str | None, figures: Sequence[Figure]) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    about = shipment.bundle.about if shipment.bundle is not None else None
    results = [
        EvalResult(
            task_type="recommendation",
            task_name="Recommendation",
            dataset_type="private",
            dataset_name=about.data,
            dataset_split=one.split,
            metric_type=f"{one.metric}@{one.k}",
            metric_name=f"{_title(one.metric)}@{one.k}",
            metric_value=one.value,
        )
        for one in _shown(figures)
        if about is not None
    ]
    base = (shipment.encoder or {}).get("model", "")
    return ModelCardData(
        license=licence,
        library_name="hnlm-ray",
        tags=["recommendation", "collaborative-filtering", "bundle" if about is not None else "encoder"],
        model_name=name if results else None,
        eval_results=results or None,
        base_model=base if base.count("/") == 1 and not base.startswith(("/", ".", "~")) else None,
    )


def _of_bundle(shipment: Shipment, repo: str, figures: Sequence[Figure]) -> dict[str, str]:
    info = shipment.bundle
    assert info is not None
    about = info.about
    users = (
        f"It holds the ids, vectors and histories of {info.users:,} users: whoever can read it can read who did what."
        if info.users
        else "It holds no users: no ids, no vectors and no histories of anybody."
    )
    parts = [f"`{name}`, {known.bytes:,} bytes" for name, known in sorted(shipment.files.items())]
    return {
        "What it is": (
            f"A recommender of {info.items:,} items: the variant `{about.variant}`, seed {about.seed}, with vectors of"
            f" {info.dim} dimensions, made by hnlm-ray {about.code_version}. {users}"
        ),
        "Use": (
            f"```\nhnlm pull {repo} bundles/here\nhnlm serve --shelf bundles/here\n```\n\n"
            + (
                ""
                if info.users
                else "Ask with a history (`/v1/fold-in`), or for similar items (`/v1/similar-items`).\n\n"
            )
            + f"The pull checks the version, `{info.version}`, and the SHA-256 of every file. No file holds code."
        ),
        "Data": f"Trained on {about.data}. What its publisher allows holds for what was learnt from it, too.",
        "Figures": _table(figures),
        "Intended use": "Ranking the items of this catalogue, and comparing methods on the same data and split.",
        "Limits": (
            "It knows the items of its training alone, and repeats what the users of then preferred."
            " The figures are of held-out interactions of the same time and the same users, and say little about other"
            " people, other catalogues, or what people would do with a list that they are shown. It must not decide"
            " about people."
        ),
        "Options": f"```json\n{json.dumps(about.config, indent=2, sort_keys=True)}\n```",
        "Files": "\n".join(f"- {part}" for part in parts),
    }


def _of_encoder(shipment: Shipment, repo: str) -> dict[str, str]:
    spec, figures = shipment.encoder or {}, shipment.figures or {}
    rows = [f"| {_MEANINGS.get(name, name)} | {value:.4f} |" for name, value in figures.items()]
    table = "\n".join(["| | value |", "|---|---|", *rows])
    return {
        "What it is": (
            f"An encoder of hard negatives, of the form `{spec.get('form', 'pair')}`: it turns a user and an item into"
            f" a vector in the space of a teacher of {spec.get('dim')} dimensions. It was tuned from"
            f" `{spec.get('model')}`, whose weights are not in here, and whose licence holds, too."
        ),
        "Use": (
            f"```\nhnlm pull {repo} encoders/here\nhnlm run ... tune.start=encoders/here\n```\n\n"
            "The pull checks the SHA-256 of every file. No file holds code."
        ),
        "Data": "It holds neither users nor items; what it learnt from is what its run was trained on.",
        "Figures": f"{table}\n\nNo intervals are known." if rows else "None are known.",
        "Intended use": "Emitting hard negatives for the training of a recommender, and as a start of further tuning.",
        "Limits": "It goes with vectors of its own teacher; on those of another it has to be tuned further.",
    }


def _table(figures: Sequence[Figure]) -> str:
    shown = _shown(figures)
    if not shown:
        return "The bundle says none."
    rows = ["| split | metric | value | 95 % interval over users |", "|---|---|---|---|"]
    for one in shown:
        interval = "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}"
        rows.append(f"| {one.split} | {_title(one.metric)}@{one.k} | {one.value:.4f} | {interval} |")
    has_interval = any(one.low is not None for one in shown)
    note = "Means over the users with held-out interactions, the whole catalogue ranked"
    note += "; intervals by bootstrap over users." if has_interval else ". No intervals are known."
    return "\n".join([*rows, "", note])


def _shown(figures: Sequence[Figure]) -> list[Figure]:
    order = {metric: place for place, metric in enumerate(_SHOWN)}
    return sorted(
        (one for one in figures if one.metric in order), key=lambda one: (one.split != "test", order[one.metric], one.k)
    )


def _title(metric: str) -> str:
    return ACCURACY.get(metric, metric.replace("_", " ").capitalize())

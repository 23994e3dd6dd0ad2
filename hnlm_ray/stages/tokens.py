"""Tokenize the texts of users and items for the model to tune, once for all pairs."""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.maps import mapped
from hnlm_ray.demo import assets
from hnlm_ray.language.engines.tokens import cut_tokens, load_tokenizer
from hnlm_ray.language.requests import profile_texts, user_requests
from hnlm_ray.language.texts import described_items, described_users
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]

_ROWS = 4096
"""Texts of one task."""


def run(context: StageContext) -> StageSummary:
    """Write ``user_tokens`` and ``item_tokens``; texts beyond the limits are cut at the end.

    Args:
        context: with the input ``prepare`` and, unless ``tune.texts`` is ``catalogue``, those of the profiles.

    Raises:
        EngineError: the tokenizer of the model cannot be loaded.
    """
    config, prepare = context.config, context.inputs["prepare"]
    items = prepare.read("items").sort_by("item")
    n_users = prepare.read("users", ["user"]).num_rows
    written: dict[str, pa.Array | None] = {"item": None, "user": None}
    if config.tune.texts == "profiles":
        for key, size in (("item", len(items)), ("user", n_users)):
            table = context.inputs[f"{key}_profiles"].read(f"{key}_profiles")
            written[key] = profile_texts(table, key, size)[0]
    by_user = user_requests(prepare.read("interactions"), config.profiles)
    titles = items["title"].combine_chunks()
    user_texts, from_purchases = described_users(by_user, titles, n_users, written["user"])
    load_tokenizer(assets.resolve(config.tune.model))  # fails here, and not in every worker
    counts: dict[str, int | float] = {"users_by_purchases": from_purchases}
    rows = {}
    with connected(config.cluster):
        for key, texts, limit in (
            ("user", user_texts, config.tune.max_user_tokens),
            ("item", described_items(items, written["item"]), config.tune.max_item_tokens),
        ):
            context.say(f"{key} tokens: {len(texts):,} texts")
            table = _tokenized(texts, key, assets.resolve(config.tune.model), limit)
            context.output.write(f"{key}_tokens", table)
            lengths = table["tokens"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
            rows[f"{key}_tokens"] = len(texts)
            counts |= {f"{key}_mean": float(lengths.mean()), f"{key}_at_limit": int((lengths == limit).sum())}
    return StageSummary(rows, counts)


def _tokenized(texts: list[str], key: str, model: str, limit: int) -> pa.Table:
    import ray.data

    table = pa.table({key: np.arange(len(texts), dtype=np.int32), "text": pa.array(texts, pa.string())})
    blocks = ray.data.from_arrow(table).repartition(target_num_rows_per_block=_ROWS)
    done = mapped(blocks, functools.partial(_tokenize, key, model, limit), batch_size=_ROWS)
    return pa.concat_tables(done.iter_batches(batch_size=None, batch_format="pyarrow")).sort_by(key)


def _tokenize(key: str, model: str, limit: int, texts: pa.Table) -> pa.Table:
    return pa.table({key: texts[key], "tokens": cut_tokens(texts["text"], model, limit)})

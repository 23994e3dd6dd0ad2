"""Let the language model name a hard negative for every chosen pair, from the profiles of user and item."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnlm_ray.language.candidates import candidates_of
from hnlm_ray.language.engines.choose import engine_of
from hnlm_ray.language.engines.protocol import Engine
from hnlm_ray.language.generate import COUNTED, Request, answer_counts, generate
from hnlm_ray.language.profiled import pairs_to_ask
from hnlm_ray.language.requests import NegativeRenderer, negative_requests, profile_texts, train_rows
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]


def run(context: StageContext, engine: Engine | None = None) -> StageSummary:
    """Write ``negatives``: one row per pair that ``negatives.policy`` chooses. An interrupted stage is resumed.

    A profile that is not ``ok`` is left out of the prompt; the counts say how many users and items have none.

    Args:
        context: with the inputs ``prepare``, ``item_profiles`` and ``user_profiles``, and ``neighbours.text`` where the
            model chooses among candidates.
        engine: instead of the one that the configuration names.

    Raises:
        ConfigError: there is no train pair.
        StageError: more answers than ``llm.max_reject_rate`` were rejected.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    config, output, prepared = context.config, context.output, context.inputs["prepare"]
    items, n_users = prepared.read("items"), prepared.read("users", ["user"]).num_rows
    columns = ["summary", "status"]
    item_profiles = context.inputs["item_profiles"].read("item_profiles", ["item", *columns])
    user_profiles = context.inputs["user_profiles"].read("user_profiles", ["user", *columns])
    item_texts, items_without = profile_texts(item_profiles, "item", items.num_rows)
    user_texts, users_without = profile_texts(user_profiles, "user", n_users)
    interactions = prepared.read("interactions", ["user", "item", "split"])
    warnings: tuple[str, ...] = ()
    if not output.has("negatives"):
        request = Request(
            rows=_requests(context, interactions, items.num_rows),
            renderer=NegativeRenderer(items, item_texts, user_texts, config.negatives, config.data.noun),
            max_output_tokens=config.negatives.max_output_tokens,
            temperature=config.negatives.temperature,
        )
        written = generate(request, engine or engine_of(config.llm), config, output, context.say)
        warnings = written.warnings
        answers = written.answers
        # Both are sorted by the number of the pair.
        for key in ("user", "item"):
            answers = answers.append_column(key, request.rows[key])
        output.write("negatives", answers.rename_columns({"id": "pair", "text": "answer"}))
    negatives = output.read("negatives", COUNTED)
    counts = {
        **answer_counts(negatives),
        "train_pairs": train_rows(interactions).num_rows,
        "items_without_profile": items_without,
        "users_without_profile": users_without,
    }
    return StageSummary({"negatives": negatives.num_rows}, counts, warnings)


def _requests(context: StageContext, interactions: pa.Table, n_items: int) -> pa.Table:
    config = context.config
    pairs = pairs_to_ask(config, interactions, n_items)
    if not config.negatives.candidates:
        return negative_requests(pairs, n_items)
    train = train_rows(interactions)
    seen = np.sort(train["user"].to_numpy().astype(np.int64) * n_items + train["item"].to_numpy())
    neighbours = context.inputs["neighbours.text"].read("neighbours")
    found = candidates_of(pairs, seen, neighbours, n_items, config.negatives.candidates, config.seed)
    return negative_requests(pairs, n_items, found)

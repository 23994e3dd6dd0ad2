"""Choose the hard negative that the encoder is tuned to emit for every train pair."""

from __future__ import annotations

import numpy as np

from hnlm_ray.data.prepared import read_splits
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.models.fitted import training_vectors
from hnlm_ray.run.stage import StageContext, StageSummary, first_fit
from hnlm_ray.tuning.candidates import Knowledge
from hnlm_ray.tuning.supervision import MATCHED_COLUMNS, choose_targets, matched_items

__all__ = ["run"]


def run(context: StageContext) -> StageSummary:
    """Write ``supervision``: one row per train pair, with or without a negative.

    Args:
        context: with the inputs ``prepare``, ``vectors``, the teacher's fit and, for the strategy ``answer``,
            ``ground``.

    Raises:
        StoreError: the teacher has no vectors of these users and items.
        DataError: the strategy ``answer`` has no written negatives.
    """
    inputs, options, teacher = context.inputs, context.config.tune.supervision, context.config.teacher
    assert teacher is not None
    train = read_splits(inputs["prepare"]).train
    fit = inputs[first_fit(context.config.train, teacher).name]
    is_cosine = context.config.train.variants[teacher].loss.is_cosine
    users, items = training_vectors(fit, train, is_cosine=is_cosine)
    knowledge = Knowledge(train, users, items, read_item_vectors(inputs["vectors"], train.n_items))
    answers = None
    if options.strategy == "answer":
        answers = matched_items(inputs["ground"].read("grounded", MATCHED_COLUMNS), train.keys)
    context.say(f"supervision: {len(train):,} pairs, {options.strategy}, teacher {teacher}")
    targets = choose_targets(train.keys, knowledge, options, context.config.seed, answers)
    context.output.write("supervision", targets.to_table(train.n_items))
    names, numbers = np.unique(targets.status, return_counts=True)
    return StageSummary({"supervision": len(train)}, dict(zip(names.tolist(), numbers.tolist(), strict=True)))

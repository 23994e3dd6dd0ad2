"""Turns evaluations into the tables that the stage writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from hnlm_ray.evaluation.blocks import Evaluation
from hnlm_ray.evaluation.strata import Stratum
from hnlm_ray.tables import METRICS, STRATA, USER_METRICS

__all__ = ["defined", "metrics_table", "strata_table", "user_metrics_table"]


def defined(value: float) -> float | None:
    """A figure as tables hold it: null where it is undefined, such as the mean over nobody."""
    return None if math.isnan(value) else value


def metrics_table(variant: str, seed: int | None, split: str, evaluation: Evaluation) -> pa.Table:
    """Table ``metrics`` of one ranker on one split."""
    key = {"variant": variant, "seed": seed, "split": split}
    rows = [{**key, "metric": name, "k": k, "value": defined(value)} for (name, k), value in evaluation.means().items()]
    return pa.Table.from_pylist(rows, schema=METRICS)


def user_metrics_table(variant: str, seed: int, evaluation: Evaluation, k: int) -> pa.Table:
    """Table ``user_metrics`` of one fit at one cut-off."""
    n = len(evaluation.users)
    columns = [
        pa.array([variant] * n, pa.string()),
        pa.array(np.full(n, seed, dtype=np.int32)),
        pa.array(evaluation.users),
        pa.array(evaluation.per_user["recall", k]),
        pa.array(evaluation.per_user["ndcg", k]),
    ]
    return pa.Table.from_arrays(columns, schema=USER_METRICS)


def strata_table(variant: str, seed: int | None, strata: Sequence[Stratum]) -> pa.Table:
    """Table ``strata`` of one ranker."""
    rows = [{**asdict(one), "variant": variant, "seed": seed, "value": defined(one.value)} for one in strata]
    return pa.Table.from_pylist(rows, schema=STRATA)

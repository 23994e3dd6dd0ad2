"""Rows and counts of a stage in words: ``40 epochs``, not ``40 history``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hnlm_ray.run.manifest import Manifest
    from hnlm_ray.run.plan import PlannedStage

__all__ = ["COUNTS", "ROWS", "counted", "number", "rows_in_words", "summary_line"]

ROWS: Mapping[str, tuple[str, str]] = {
    "users": ("user", "users"),
    "items": ("item", "items"),
    "interactions": ("interaction", "interactions"),
    "truth": ("known taste", "known tastes"),
    "item_features": ("item with features", "items with features"),
    "user_features": ("user with features", "users with features"),
    "item_profiles": ("item profile", "item profiles"),
    "user_profiles": ("user profile", "user profiles"),
    "negatives": ("negative", "negatives"),
    "item_vectors": ("item vector", "item vectors"),
    "neighbours": ("neighbour", "neighbours"),
    "guard": ("guarded pair", "guarded pairs"),
    "grounded": ("grounded answer", "grounded answers"),
    "supervision": ("supervised pair", "supervised pairs"),
    "user_tokens": ("text of a user", "texts of users"),
    "item_tokens": ("text of an item", "texts of items"),
    "tuning": ("validation", "validations"),
    "encoded": ("encoded pair", "encoded pairs"),
    "encoded_items": ("encoded item", "encoded items"),
    "history": ("epoch", "epochs"),
    "metrics": ("metric", "metrics"),
    "user_metrics": ("metric of a user", "metrics of users"),
    "strata": ("metric of a stratum", "metrics of strata"),
    "false_negatives": ("rate of false negatives", "rates of false negatives"),
    "guard_likes": ("measure of a guard", "measures of guards"),
    "trials": ("trial", "trials"),
    "study": ("variant", "variants"),
    "study_fits": ("fit", "fits"),
}
"""One row, and several, of each table that a stage writes."""

COUNTS: Mapping[str, str] = {
    "best_epoch": "best epoch",
    "valid_ndcg": "valid NDCG@20",
    "pairs_with_vector": "pairs with a vector",
    "prompt_tokens": "prompt tokens",
    "output_tokens": "output tokens",
    "cached_tokens": "cached tokens",
    "out_of_catalogue": "out of catalogue",
}
"""Counts on a summary line whose name is not the word for it."""


def counted(table: str, rows: int) -> str:
    """So many rows of a table, in words."""
    one, several = ROWS.get(table, (table.replace("_", " "),) * 2)
    return f"{rows:,} {one if rows == 1 else several}"


def rows_in_words(manifest: Manifest) -> str:
    """The rows of every table that a stage wrote; "" where it wrote none.

    A fit in closed form has no epochs: the one row of its ``history`` is left out.
    """
    without = {"history"} if manifest.counts.get("epochs") == 0 else set()
    return ", ".join(counted(table, rows) for table, rows in manifest.rows.items() if table not in without)


def summary_line(stage: PlannedStage) -> str:
    """One line for a finished stage: rows, seconds, headline counts."""
    manifest = stage.artifact.manifest()
    rows, counts = rows_in_words(manifest), manifest.counts
    shown = [f"{COUNTS.get(key, key)} {number(counts[key])}" for key in stage.spec.headlines if counts.get(key)]
    made = f"{rows} in" if rows else "done in"
    return f"{stage.name}: {made} {manifest.seconds:.1f} s" + (f" · {', '.join(shown)}" if shown else "")


def number(value: float) -> str:
    """With a comma between thousands, or with four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"

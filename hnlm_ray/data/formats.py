"""The raw formats by name: how their files are called and which functions read a piece of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data import amazon, movielens, recbole, yelp
from hnlm_ray.data.files import Files, Folder, find_files
from hnlm_ray.data.lines import Chunk

__all__ = ["Parse", "has_header", "interaction_files", "item_files", "parsers"]

Parse = Callable[[Chunk], pa.Table]
"""From a piece of a file to a raw table."""


@dataclass(frozen=True)
class _Names:
    """Patterns of file names; the first that finds anything decides."""

    interactions: tuple[str, ...]
    items: tuple[str, ...]
    exclude: tuple[str, ...] = ()  # of the patterns of interactions


_NAMES = {
    "amazon2018": _Names(
        ("reviews_*.json.gz", "reviews_*.json", "*.json.gz", "*.json"), ("meta_*.json.gz", "meta_*.json"), ("meta*",)
    ),
    "amazon2023": _Names(("*.jsonl.gz", "*.jsonl"), ("meta_*.jsonl.gz", "meta_*.jsonl"), ("meta_*",)),
    "yelp": _Names(
        ("yelp_academic_dataset_review.json", "*review*.json", "*review*.json.gz"),
        ("yelp_academic_dataset_business.json", "*business*.json", "*business*.json.gz"),
    ),
    "movielens": _Names(
        ("u.data", "ratings.dat", "ratings.csv", "ratings.csv.gz"), ("u.item", "movies.dat", "movies.csv")
    ),
    "recbole": _Names(("*.inter", "*.inter.gz"), ("*.item", "*.item.gz")),
    "table": _Names(
        ("interactions.parquet", "interactions.csv", "interactions.csv.gz", "interactions/*.parquet"),
        ("items.parquet", "items.csv", "items.csv.gz", "items/*.parquet"),
    ),
}


def interaction_files(folder: Folder, config: DataConfig) -> Files:
    """The files of interactions.

    Raises:
        DataError: there are none.
    """
    names = _NAMES[config.format]
    return find_files(folder, "data.interactions", config.interactions, names.interactions, names.exclude)


def item_files(folder: Folder, config: DataConfig) -> Files:
    """The files of items; none where ``data.items`` is ``""``.

    Raises:
        DataError: there are none, and the configuration does not say so.
    """
    if config.items == "":
        return Files(folder.filesystem, ())
    return find_files(folder, "data.items", config.items, _NAMES[config.format].items)


def has_header(config: DataConfig, path: str) -> bool:
    """Whether the first line of a file names its fields."""
    return config.format == "recbole" or ".csv" in path.rpartition("/")[2]


def parsers(config: DataConfig) -> tuple[Parse, Parse]:
    """What reads a piece of an interaction file and of an item file, for every format of lines."""
    found: dict[str, tuple[Parse, Parse]] = {
        "amazon2018": (amazon.parse_reviews_2018, amazon.parse_items_2018),
        "amazon2023": (amazon.parse_reviews_2023, amazon.parse_items_2023),
        "yelp": (yelp.parse_reviews, yelp.parse_businesses),
        "movielens": (movielens.parse_ratings, movielens.parse_movies),
        "recbole": (
            partial(recbole.parse_interactions, config=config.columns),
            partial(recbole.parse_items, config=config.columns),
        ),
    }
    return found[config.format]

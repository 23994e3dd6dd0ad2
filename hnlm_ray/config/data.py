"""The section ``data``: where raw data is, how it is read, filtered and split."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hnlm_ray.config.plugins import CustomOptions, Plugged
from hnlm_ray.config.section import Fraction, Positive, Section

__all__ = [
    "ColumnsConfig",
    "DataConfig",
    "DemoWorldConfig",
    "FeatureColumns",
    "FeaturesConfig",
    "ReaderOptions",
    "SplitConfig",
]


class ColumnsConfig(Section):
    """Column names of a plain Parquet or CSV data set; ``null`` where it has no such column."""

    user: str = "user_id"
    """Id of the user."""
    item: str = "item_id"
    """Id of the item."""
    rating: str | None = "rating"
    """Rating, compared with ``data.min_rating``."""
    timestamp: str | None = "timestamp"
    """Time of the interaction; ``null``: the order of the rows stands in for it."""
    review: str | None = "review"
    """Text that the user wrote about the item."""
    split: str | None = "split"
    """Read only when ``data.split.strategy`` is ``column``."""
    title: str = "title"
    """Title of the item."""
    brand: str | None = "brand"
    """Brand of the item."""
    categories: str | None = "categories"
    """Categories of the item, from the widest to the narrowest."""
    description: str | None = "description"
    """Description of the item."""

    @model_validator(mode="after")
    def _users_are_no_items(self) -> ColumnsConfig:
        if self.user == self.item:
            raise ValueError(f"user and item are both the column {self.user!r}")
        return self


class SplitConfig(Section):
    """How interactions are divided into train, valid and test."""

    strategy: Literal["random", "leave_last_two", "global_time", "column"] = "random"
    """``random``: per user, 8:1:1 by default. ``leave_last_two``: last is test, the one before is valid.
    ``global_time``: two moments divide the interactions of all users. ``column``: a column of the data says."""
    valid: Fraction = 0.1
    """Share of the interactions held out to choose epochs and options on; not used by ``leave_last_two`` and
    ``column``."""
    test: Fraction = 0.1
    """Share of the interactions held out for the report; not used by ``leave_last_two`` and ``column``."""
    train_share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of each user's train interactions that are kept, at least one; the others are left out of the run. For
    studies of users with few interactions: valid and test stay as they are, and what a smaller share keeps is among
    what a larger one keeps."""

    @model_validator(mode="after")
    def _leaves_train(self) -> SplitConfig:
        if self.valid + self.test >= 1.0:
            raise ValueError(f"valid + test is {self.valid + self.test:g}, which leaves nothing to train on")
        return self


class FeatureColumns(Section):
    """Columns of a Parquet or CSV file that variants may read as features, and the file."""

    file: str | None = None
    """File or pattern inside ``path``; by default ``items.parquet`` or ``items.csv``, of users ``users.parquet`` or
    ``users.csv``."""
    id: str | None = None
    """Column of the ids; by default that of ``data.columns.item`` or ``data.columns.user``."""
    numeric: tuple[str, ...] = ()
    """Columns of numbers, for example ``[price]``."""
    categorical: tuple[str, ...] = ()
    """Columns of names, for example ``[brand]``. A list holds several, and so does a text with ``|`` between them or in
    brackets."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.numeric, *self.categorical)

    @model_validator(mode="after")
    def _each_once(self) -> FeatureColumns:
        for name in self.columns:
            if self.columns.count(name) > 1:
                raise ValueError(f"the column {name!r} is named twice")
        return self


class FeaturesConfig(Section):
    """Features of items and of users beside text."""

    items: FeatureColumns = FeatureColumns()
    """Read by variants with ``item_features``."""
    users: FeatureColumns = FeatureColumns()
    """Read by variants with ``user_features``."""


class DemoWorldConfig(Section):
    """Size and seed of the generated catalogue."""

    users: Positive = 1000
    """Number of users."""
    items: Positive = 480
    """Number of items."""
    interactions: Positive = 20_000
    """Number of interactions, before any filter."""
    seed: int = 0
    """Another seed is another world."""


class ReaderOptions(CustomOptions):
    """A reader of your own: ``{class: my.module.Reader, ...}``, made with ``data.path`` and the other options."""


ReaderSection = Annotated[ReaderOptions, Plugged("hnlm_ray.readers", dict)]


class DataConfig(Section):
    """Where raw data is, how it is read, filtered and split."""

    format: Literal[
        "demo", "amazon2018", "amazon2023", "yelp", "movielens", "checkins", "lastfm", "steam", "recbole", "table",
        "own",
    ] = "demo"  # fmt: skip
    """``demo`` is generated, ``own`` is what ``data.reader`` reads; every other format has a module in
    ``hnlm_ray/data`` with its name."""
    reader: ReaderSection | None = None
    """A class of your own that gives frames of interactions and items, for example ``{class: my.module.Reader}``; with
    it, the format is ``own``."""
    noun: str = Field(default="product", pattern=r"^[^\W\d_][\w '-]{0,39}$")
    """What an item is called in prompts, in the singular. Where it is not given, it is ``film`` with ``movielens``,
    ``place`` with ``yelp`` and ``checkins``, ``artist`` with ``lastfm``, and ``game`` with ``steam``."""
    path: str | None = None
    """Folder with the raw data, local or ``s3://`` / ``gs://``; not used by ``demo``, and ``own`` may do without."""
    interactions: str | None = None
    """File or pattern inside ``path``; by default, files with the usual names of the format."""
    items: str | None = None
    """The same for the files of items; ``""`` where the data has none."""
    columns: ColumnsConfig = ColumnsConfig()
    features: FeaturesConfig = FeaturesConfig()
    feedback: str | None = None
    """Folder in which a service has stored feedback (``serve.feedback``): further interactions, which are cleaned,
    filtered and split like those of the files; not with ``demo``, nor with ``split.strategy: column``."""
    feedback_until: date | None = None
    """The last day, in UTC, whose files of feedback are read; ``null``: all, also those that a service writes
    between two runs."""
    min_rating: float | None = None
    """Drop interactions with a lower rating; those without a rating are kept."""
    date_from: date | None = None
    """Drop interactions before this date, in UTC."""
    date_to: date | None = None
    """Drop interactions outside these two dates, which are included, in UTC."""
    k_core: int = Field(default=0, ge=0)
    """Drop users and items with fewer interactions, repeatedly, until none is left."""
    max_history: Positive | None = None
    """Keep at most this many interactions of each user, the latest."""
    max_bad_rows: Fraction = 0.001
    """Share of malformed lines above which the run stops; up to it they are dropped and counted."""
    max_unknown_items: Fraction = 0.5
    """Share of interactions with an item that the files of items lack above which the run stops; up to it these items
    are called by their ids, with a warning from 1 % on."""
    split: SplitConfig = SplitConfig()
    demo: DemoWorldConfig = DemoWorldConfig()

    @model_validator(mode="before")
    @classmethod
    def _format_of_a_reader(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("reader") is not None and "format" not in values:
            return {**values, "format": "own"}
        return values

    @model_validator(mode="after")
    def _path_given(self) -> DataConfig:
        if self.format == "own" and self.reader is None:
            raise ValueError("format 'own' needs data.reader, the class that reads")
        if self.format != "own" and self.reader is not None:
            raise ValueError(f"there is a reader, and format is {self.format!r}: set data.format=own to use the reader")
        if self.format not in ("demo", "own") and self.path is None:
            raise ValueError(f"format {self.format!r} needs data.path, the folder that holds the files")
        if self.path is None and (self.features.items.columns or self.features.users.columns):
            raise ValueError("features are read from files in data.path, which is not given")
        return self

    @model_validator(mode="after")
    def _feedback_fits(self) -> DataConfig:
        if self.feedback is not None and self.format == "demo":
            raise ValueError("data.feedback goes with data of your own: what the users of the demo like is generated")
        if self.feedback is not None and self.split.strategy == "column":
            raise ValueError("data.feedback has no column split: choose another data.split.strategy")
        if self.feedback is None and self.feedback_until is not None:
            raise ValueError("data.feedback_until has no effect without data.feedback")
        return self

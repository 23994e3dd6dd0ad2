"""The graph between items: whose neighbours they are, and how a variant uses it."""

from __future__ import annotations

from typing import Literal

from hnlm_ray.config.section import Positive, Section

__all__ = ["ItemGraphOptions", "NeighbourSource", "NeighboursConfig"]

NeighbourSource = Literal["text", "described", "profiled", "tuned", "categories", "random"]
"""What two items are near by. ``text``: title and categories. ``described``: also the description. ``profiled``: title,
categories and the profile that the language model wrote. ``tuned``: the vectors of the tuned encoder. To compare with:
``categories``, how many of them two items share, and ``random``, any items."""


class NeighboursConfig(Section):
    """The nearest items of every item, computed exactly, once for each source that something reads."""

    keep: Positive = 20
    """Neighbours that are written per item; a variant may use fewer."""
    item_block: Positive = 1024
    """Items of one piece of work."""


class ItemGraphOptions(Section):
    """Smooths the embeddings of items over a graph of similar items (as in FREEDOM, Zhou and Shen, MM 2023)."""

    source: NeighbourSource = "text"
    """What two items are near by: ``text`` (title and categories), ``described`` (also the description), ``profiled``
    (the written profile instead of it), ``tuned`` (the tuned encoder's vectors), or a control, ``categories`` or
    ``random``."""
    neighbours: Positive = 10
    """Nearest items that an item takes from."""
    layers: Positive = 1
    """Hops over the graph of items; the embedding itself and all hops are added up."""
    place: Literal["before", "beside", "after"] = "before"
    """``before``: first-layer embeddings are smoothed, then the backbone runs. ``beside``: the smoothed embeddings are
    added to the backbone's item vectors. ``after``: the backbone's item vectors are smoothed."""

"""What a reader should know about data that was prepared: shares that are larger than sound data has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hnlm_ray.data.ids import Meeting
from hnlm_ray.data.times import Times

__all__ = ["findings"]

_FEW = 0.01
"""Share of unknown items, of rows without an id, and of unusable times from which they are worth a sentence."""
_REPEATED = 0.05
_FILTERED = 0.5
_WITHOUT_TITLE = 0.5

_FILTERS = {
    "dropped_by_min_rating": "data.min_rating",
    "dropped_by_date": "data.date_from and data.date_to",
    "dropped_by_max_history": "data.max_history",
    "dropped_by_k_core": "data.k_core",
}


def findings(counts: Mapping[str, int], rows: int, item_rows: int, times: Times, known: Meeting | None) -> list[str]:
    """One sentence for each share that is larger than sound data has.

    Args:
        counts: of the rules, by name.
        rows: raw interactions with both ids.
        item_rows: raw items with an id.
        times: how times were read.
        known: how items are found; None where the data has no items.
    """
    return [
        *_of_ids(counts, rows, item_rows),
        *_of_items(counts, known),
        *_of_times(counts, rows, times),
        *_of_rows(counts, rows, item_rows),
    ]


def _of_ids(counts: Mapping[str, int], rows: int, item_rows: int) -> Iterator[str]:
    for name, left in (("interactions", rows), ("items", item_rows)):
        lost, whole = counts[f"{name}_without_id"], left + counts[f"{name}_without_id"]
        if lost > _FEW * whole:
            yield f"{_of(lost, whole)} rows of the {name} have no id and are dropped; check the id columns."


def _of_items(counts: Mapping[str, int], known: Meeting | None) -> Iterator[str]:
    if known is not None and known.share > _FEW:
        yield f"{known.sentence()}; their titles are their ids, so check the ids of both files."
    described = counts["items"] - counts["items_unknown"]
    if counts["titles_empty"] > _WITHOUT_TITLE * described > 0:
        yield (
            f"{_of(counts['titles_empty'], described)} items have no title and are called by their ids, from which a"
            " language model learns nothing; check data.columns.title."
        )


def _of_times(counts: Mapping[str, int], rows: int, times: Times) -> Iterator[str]:
    if (unusable := counts["timestamps_unusable"]) > _FEW * rows:
        unit = "dates" if times.unit is None else times.unit.replace("_", " ")
        yield (
            f"{_of(unusable, rows)} timestamps are no time between 1970 and 2100 when read as {unit}, such as"
            f" {times.example}; they count as missing, so check the column."
        )
    elif unusable:
        yield f"{unusable:,} timestamps such as {times.example} are no time from 1970 to 2100; they count as missing."
    if times.are_early:
        yield (
            "most timestamps lie before 1980 when read as seconds since 1970; their order is used as it is, but check"
            " that the column holds times."
        )


def _of_rows(counts: Mapping[str, int], rows: int, item_rows: int) -> Iterator[str]:
    if (repeated := counts["pairs_repeated"]) > _REPEATED * rows:
        yield f"{_of(repeated, rows)} interactions repeat a pair of user and item; the latest of each pair is kept."
    if (divided := counts["pairs_in_two_splits"]) > 0:
        yield (
            f"{divided:,} pairs of user and item are in two splits of the split column; the latest row decides, so"
            " check that the splits do not overlap."
        )
    if (repeated := counts["items_repeated"]) > _REPEATED * item_rows:
        yield f"{_of(repeated, item_rows)} rows of the items repeat an id; the first of each id is kept."
    dropped = {option: counts[name] for name, option in _FILTERS.items() if counts[name]}
    if sum(dropped.values()) > _FILTERED * rows:
        shares = ", ".join(f"{count:,} by {option}" for option, count in dropped.items())
        share = _of(sum(dropped.values()), rows)
        yield f"{share} interactions are dropped by filters: {shares}; loosen them if that is not wanted."


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / max(whole, 1):.1%})"

"""Account for every line of the raw files: rows, blank lines, malformed lines, and lines that needed a rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.raw import BLANK, Oddity, RawData, gather, place_of
from hnlm_ray.errors import DataError

__all__ = ["raw_data"]

_ODDITIES = {
    Oddity.NOT_UTF8: ("lines_not_utf8", "not UTF-8, read as Latin-1"),
    Oddity.NUL: ("lines_with_nul", "with NUL bytes, which are left out"),
    Oddity.RETURN: ("lines_with_return", "with a carriage return before their end"),
    Oddity.BARE_QUOTE: ("lines_with_bare_quote", "with a quote inside a field that is not quoted, kept as a character"),
    Oddity.BACKSLASH: ("lines_with_backslash_quote", r"with \" for a quote of the text"),
    Oddity.EMPTY_FIELD: ("lines_with_empty_field", "with one empty field too many, which is left out"),
}
"""By oddity the name of its count, and what is said of such lines."""
_SHOWN = 5


def raw_data(
    interactions: pa.Table, items: pa.Table, files: tuple[Sequence[str], Sequence[str]], allowed: float
) -> RawData:
    """Put the raw tables of all files together, without the entries that are no rows.

    Args:
        interactions: raw, rows in any order.
        items: likewise.
        files: the paths of the files of each, by file number.
        allowed: the share of malformed lines up to which they are dropped: ``data.max_bad_rows``.

    Returns:
        the rows and, of each table, the counts ``*_lines`` (all but headers), ``*_lines_blank``,
        ``*_lines_malformed`` and ``*_lines_continued`` (those that a row takes after its first); the others are rows.

    Raises:
        DataError: too many lines are malformed; it names the first.
    """
    counts: Counter[str] = Counter({name: 0 for name, _ in _ODDITIES.values()})
    warnings: list[str] = []
    tables = []
    for what, table, paths in (("interaction", interactions, files[0]), ("item", items, files[1])):
        ordered = _in_order(table)
        is_whole = ordered["problem"].null_count == ordered.num_rows
        rows = ordered if is_whole else ordered.filter(pc.is_null(ordered["problem"]))
        blank = ordered.filter(pc.equal(ordered["problem"], BLANK))
        bad = ordered.filter(pc.not_equal(ordered["problem"], BLANK))
        if bad.num_rows > allowed * (rows.num_rows + bad.num_rows):
            _refuse(bad, rows.num_rows + bad.num_rows, paths, allowed)
        spans = pc.sum(rows["lines"]).as_py() or 0
        counts[f"{what}_lines_blank"] = pc.sum(blank["lines"]).as_py() or 0
        counts[f"{what}_lines_malformed"] = bad.num_rows
        counts[f"{what}_lines_continued"] = spans - rows.num_rows if spans else 0
        counts[f"{what}_lines"] = spans + bad.num_rows + counts[f"{what}_lines_blank"]
        warnings += _remarks(rows, bad, paths, counts)
        tables.append(rows)
    return RawData(tables[0], tables[1], dict(counts), warnings)


def _in_order(table: pa.Table) -> pa.Table:
    position = table["position"].to_numpy()
    if np.any(position[1:] < position[:-1]):
        return gather(table, np.argsort(position, kind="stable"))
    return table


def _refuse(bad: pa.Table, lines: int, files: Sequence[str], allowed: float) -> None:
    first = place_of(bad["position"][0].as_py(), files)
    raise DataError(
        f"{first}: {bad['problem'][0].as_py()}; this is the first of {bad.num_rows:,} malformed lines among {lines:,},"
        f" more than data.max_bad_rows={allowed:g}",
        "fix the file, check data.format, or raise data.max_bad_rows",
    )


def _remarks(rows: pa.Table, bad: pa.Table, files: Sequence[str], counts: Counter[str]) -> Iterator[str]:
    """One sentence for all malformed lines, and one for each kind of odd ones, which are counted on the way."""
    if bad.num_rows:
        yield (
            f"{_lines(bad.num_rows)} malformed and left out: {_places(bad, files)} ({bad['problem'][0].as_py()});"
            " fix the file, or set data.max_bad_rows=0 to stop there."
        )
    oddity = rows["oddity"].to_numpy()
    if not oddity.any():
        return
    for flag, (name, what) in _ODDITIES.items():
        found = rows.select(["position"]).filter(pa.array((oddity & flag) != 0))
        if found.num_rows:
            counts[name] += found.num_rows
            yield f"{_lines(found.num_rows)} {what}: {_places(found, files)}; check them, or fix the file."


def _lines(number: int) -> str:
    return f"{number:,} line" + ("s" if number > 1 else "")


def _places(table: pa.Table, files: Sequence[str]) -> str:
    """The first of some lines, as ``FILE:7, 9, ...``."""
    first: dict[str, list[str]] = {}
    for position in table["position"].slice(0, _SHOWN).to_pylist():
        file, _, line = place_of(position, files).rpartition(":")
        first.setdefault(file, []).append(line)
    shown = [f"{file}:{', '.join(lines)}" for file, lines in first.items()]
    return ", ".join([*shown, *(["..."] if table.num_rows > _SHOWN else [])])

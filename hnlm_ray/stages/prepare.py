"""Prepare the data of a run: read raw data, clean it, filter it, number users and items, and split the interactions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.maps import mapped
from hnlm_ray.config.data import DataConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.data.accounting import raw_data
from hnlm_ray.data.features import Kind, read_features
from hnlm_ray.data.feedback import with_feedback
from hnlm_ray.data.files import Files, named, open_folder
from hnlm_ray.data.formats import Parse, chunks_of, interaction_files, item_files, parsers
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.own import read_own
from hnlm_ray.data.preparation import prepare_tables, renumber_truth
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS, RawData, from_columns
from hnlm_ray.data.reading import read_whole
from hnlm_ray.data.splits import require_held_out
from hnlm_ray.demo.world import generate
from hnlm_ray.errors import DataError
from hnlm_ray.run.places import shown
from hnlm_ray.run.progress import Say
from hnlm_ray.run.stage import StageContext, StageSummary

__all__ = ["run"]

_FAILURE = pa.field("failure", pa.list_(pa.string()))
"""Why a file cannot be read, and what to do about it: the parts of a DataError."""


def run(context: StageContext) -> StageSummary:
    """Write ``users``, ``items`` and ``interactions``; of the generated world also ``truth``, of features their tables.

    Args:
        context: without inputs.

    Raises:
        DataError: the raw data is missing or malformed, ids or times cannot be used, the filters leave nothing, or the
            split is impossible or holds nothing out.
    """
    config, output = context.config.data, context.output
    truth = None
    if config.format == "demo":
        world = generate(config.demo)
        raw, truth = from_columns(world.interactions, world.items), world.truth
    else:
        raw, config = read_own(config) if config.format == "own" else (_read(context.config, context.say), config)
        raw = with_feedback(raw, config)
    prepared = prepare_tables(raw, config, context.config.seed)
    require_held_out(prepared.interactions, config.split)
    tables = {"users": prepared.users, "items": prepared.items, "interactions": prepared.interactions}
    if config.path is not None:
        folder = open_folder(config.path)
        for kind in get_args(Kind):
            features = read_features(folder, config, kind, tables[f"{kind}s"])
            if features is not None:
                tables[f"{kind}_features"] = features
    if truth is not None:
        tables["truth"] = renumber_truth(truth, prepared.users, prepared.items)
    for name, table in tables.items():
        output.write(name, table)
    counts = prepared.counts
    context.say(f"{counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} interactions")
    if "feedback_events" in counts:
        repeated = counts["feedback_repeated"]
        context.say(f"among them {counts['feedback_events']:,} events of feedback, of which {repeated:,} are repeated")
    for note in prepared.notes:
        context.say(note)
    return StageSummary({name: table.num_rows for name, table in tables.items()}, counts, prepared.warnings)


def _read(config: Config, say: Say) -> RawData:
    folder = open_folder(config.data.path or "")
    files = interaction_files(folder, config.data), item_files(folder, config.data)
    names = [named(folder.root, found.paths) or "no file" for found in files]
    say(f"interactions from {names[0]}, items from {names[1]}, in {shown(config.data.path or '')}")
    if config.data.format == "table":
        return read_whole(config.data, files)
    parse_interactions, parse_items = parsers(config.data)
    with connected(config.cluster):
        interactions = _parse(files[0], config.data, parse_interactions, RAW_INTERACTIONS)
        items = _parse(files[1], config.data, parse_items, RAW_ITEMS)
    return raw_data(interactions, items, (files[0].paths, files[1].paths), config.data.max_bad_rows)


def _parse(files: Files, config: DataConfig, parse: Parse, schema: pa.Schema) -> pa.Table:
    """All files as one raw table: one task reads a file in chunks, and others parse the chunks as they come.

    Raises:
        DataError: a file is damaged or not of its format. Tasks hand it back as a row: an error raised in a task would
            bring Ray's traceback along.
    """
    import ray

    if not files.paths:
        return schema.empty_table()

    def chunks(names: pa.Table) -> Iterator[pa.Table]:
        for row in names.to_pylist():
            try:
                for chunk in chunks_of(config, files, row["number"]):
                    yield _chunk_row(chunk)
            except DataError as error:
                yield _chunk_row(Chunk(row["path"], row["number"], 1, b""), error)

    def parsed(rows: pa.Table) -> pa.Table:
        return pa.concat_tables([_parsed(row, parse, schema) for row in rows.to_pylist()])

    names = [{"path": path, "number": number} for number, path in enumerate(files.paths)]
    # Unequal shares of a CPU keep Ray from fusing both steps into one task, which would parse a file sequentially.
    cut = mapped(ray.data.from_items(names, override_num_blocks=len(names)), chunks, batch_size=1, num_cpus=0.5)
    dataset = mapped(cut, parsed, batch_size=1, num_cpus=1)
    empty = schema.append(_FAILURE).empty_table()
    rows = pa.concat_tables([empty, *ray.get(dataset.to_arrow_refs())])
    for problem, action in rows["failure"].drop_null().slice(0, 1).to_pylist():
        raise DataError(problem, action)
    return rows.drop_columns("failure")


def _chunk_row(chunk: Chunk, error: DataError | None = None) -> pa.Table:
    """A chunk as a row, with the failure that takes its place where there is one."""
    failure = pa.array([None if error is None else [error.problem, error.action]], _FAILURE.type)
    return pa.table({**{name: [value] for name, value in vars(chunk).items()}, "failure": failure})


def _parsed(row: dict[str, Any], parse: Parse, schema: pa.Schema) -> pa.Table:
    """The raw rows of a chunk and a column of nulls, or one row with the failure."""
    failure = row.pop("failure")
    rows = schema.empty_table()
    if failure is None:
        try:
            rows = parse(Chunk(**row))
        except DataError as error:
            failure = [error.problem, error.action]
    if failure is not None:
        rows = pa.Table.from_pylist([{}], schema=schema)
    return rows.append_column(_FAILURE, pa.array([failure] * rows.num_rows, _FAILURE.type))

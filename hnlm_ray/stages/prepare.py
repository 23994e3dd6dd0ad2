"""Read, clean, filter and split the raw data: the generated world and plain tables here, other formats through Ray."""

from __future__ import annotations

from hnlm_ray.config import DataConfig
from hnlm_ray.data.demo import generate
from hnlm_ray.data.preparation import prepare_tables, renumber_truth
from hnlm_ray.data.raw import RawData, from_columns
from hnlm_ray.data.table import read_tables
from hnlm_ray.errors import DataError
from hnlm_ray.stage import StageContext, StageSummary

__all__ = ["run"]


def run(context: StageContext) -> StageSummary:
    """Write ``users``, ``items`` and ``interactions``; of a generated world also ``truth``.

    Raises:
        DataError: the raw data is missing or malformed, the filters leave nothing, or the split is impossible.
    """
    config, output = context.config.data, context.output
    truth = None
    if config.format == "demo":
        world = generate(config.demo)
        raw, truth = from_columns(world.interactions, world.items), world.truth
    else:
        raw = _read(config)
    prepared = prepare_tables(raw, config, context.config.seed)
    tables = {"users": prepared.users, "items": prepared.items, "interactions": prepared.interactions}
    if truth is not None:
        tables["truth"] = renumber_truth(truth, prepared.users, prepared.items)
    for name, table in tables.items():
        output.write(name, table)
    counts = prepared.counts
    context.say(f"{counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} interactions")
    return StageSummary({name: table.num_rows for name, table in tables.items()}, counts)


def _read(config: DataConfig) -> RawData:
    if config.format == "table":
        return read_tables(config)
    raise DataError(f"the format {config.format} cannot be read yet", "use table")

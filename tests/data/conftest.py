"""Reading without Ray: the same files and the same functions, one piece after another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.accounting import raw_data
from hnlm_ray.data.files import open_folder
from hnlm_ray.data.formats import chunks_of, interaction_files, item_files, parsers
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS, RawData
from hnlm_ray.data.table import read_tables

Read = Callable[..., RawData]


def read_serially(config: DataConfig, size: int = 1 << 20) -> RawData:
    folder = open_folder(config.path or "")
    found = interaction_files(folder, config), item_files(folder, config)
    if config.format == "table":
        return read_tables(config, *found)
    tables = []
    for files, parse, schema in zip(found, parsers(config), (RAW_INTERACTIONS, RAW_ITEMS), strict=True):
        parts = [schema.empty_table()]
        for number in range(len(files.paths)):
            parts += [parse(chunk) for chunk in chunks_of(config, files, number, size=size)]
        # Ray gives the pieces back in any order.
        tables.append(pa.concat_tables(reversed(parts)))
    return raw_data(tables[0], tables[1], (found[0].paths, found[1].paths), config.max_bad_rows)


@pytest.fixture
def read_raw(tmp_path: Path) -> Read:
    """``read_raw("yelp", max_bad_rows=0.5)`` reads the files in ``tmp_path``."""

    def read(form: str, size: int = 1 << 20, **options: Any) -> RawData:
        return read_serially(DataConfig.model_validate({"format": form, "path": str(tmp_path), **options}), size)

    return read

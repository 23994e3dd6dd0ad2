"""Reading without Ray: the same files and the same functions, one piece after another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.files import open_folder
from hnlm_ray.data.formats import interaction_files, item_files
from hnlm_ray.data.raw import RawData
from hnlm_ray.data.reading import read_whole

Read = Callable[..., RawData]


def read_serially(config: DataConfig, size: int = 1 << 20) -> RawData:
    folder = open_folder(config.path or "")
    return read_whole(config, (interaction_files(folder, config), item_files(folder, config)), size=size)


@pytest.fixture
def read_raw(tmp_path: Path) -> Read:
    """``read_raw("yelp", max_bad_rows=0.5)`` reads the files in ``tmp_path``."""

    def read(form: str, size: int = 1 << 20, **options: Any) -> RawData:
        return read_serially(DataConfig.model_validate({"format": form, "path": str(tmp_path), **options}), size)

    return read

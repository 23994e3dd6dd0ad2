from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.errors import DataError
from hnlm_ray.exchange.archives import unpack
from tests.exchange.made_up import zipped


def test_a_file_that_unpacks_to_too_much_is_refused_and_not_left(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(zipped({"zeros.csv": "0" * 5_000_000}))
    assert archive.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"zeros\.csv in .* has more than 1,000,000 bytes"):
        unpack(archive, ["zeros.csv"], largest=1_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.zip"]

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.accounting import raw_data
from hnlm_ray.data.files import open_folder
from hnlm_ray.data.formats import interaction_files, item_files
from hnlm_ray.data.raw import RAW_ITEMS
from hnlm_ray.data.reading import first_rows, raw_pieces, read_whole


def test_pieces_in_any_order_give_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\n" + "".join(f"u{n}\ti{n}\n" for n in range(500)))
    config = DataConfig(format="recbole", path=str(tmp_path), items="")
    folder = open_folder(str(tmp_path))
    files = interaction_files(folder, config), item_files(folder, config)
    pieces = list(raw_pieces(config, files[0], 0, 0, size=200))
    assert len(pieces) > 5
    shuffled = pa.concat_tables(reversed(pieces))
    made = raw_data(shuffled, RAW_ITEMS.empty_table(), (files[0].paths, ()), 0.0)
    assert made.interactions["user_id"].to_pylist() == [f"u{n}" for n in range(500)]
    assert made.interactions.equals(read_whole(config, files).interactions)
    head = first_rows(config, files[0], 0, 0, 200)
    assert 0 < head.num_rows < 500
    assert head["user_id"][0].as_py() == "u0"


def test_of_parquet_some_rows_are_read_at_a_time(tmp_path: Path) -> None:
    rows = [f"u{n}" for n in range(10_000)]
    pq.write_table(pa.table({"user_id": rows, "item_id": rows}), tmp_path / "interactions.parquet")
    config = DataConfig(format="table", path=str(tmp_path), items="")
    files = interaction_files(open_folder(str(tmp_path)), config)
    assert first_rows(config, files, 0, 0, 64 << 10)["user_id"].to_pylist() == rows[:1024]
    pieces = list(raw_pieces(config, files, 0, 0, size=64 << 10))
    assert pa.concat_tables(pieces)["position"].to_pylist() == list(range(1, 10_001))

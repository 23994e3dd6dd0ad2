"""What others are given of a run says what the run says, and RecBole's form is read back into the same split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from hnlm_ray.config.load import load_config
from hnlm_ray.data.preparation import prepare_tables
from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.exchange.export import FORMS, export
from hnlm_ray.exchange.run_data import RunData, read_run
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import RunStore
from hnlm_ray.tables import ENCODED
from tests.data.conftest import read_serially
from tests.stages.finished_run import N_ITEMS, N_USERS, FinishedRun

ODD = {
    "title": ['"Weird Al" Yankovic', "Tab\there", "Plain", "Line\nend"],
    "brand": ["", 'Say "so"', "Müller", "B"],
    "categories": [["Men's Shoes", "Toys & Games, all"], [], ["A\\B"], ["日本", "C|D"]],
    "description": ["", "x", "\u2665", "1"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with negatives of a language model and of an encoder."""
    folder = tmp_path_factory.mktemp("run")
    made = FinishedRun(folder)
    made.prepare(truth=False)
    made.language_model()
    artifact = made.artifact("encode")
    nearest = [[-1, -1], [-1, 7], [8, 9]]
    columns = {"pair": [0, 1, 2], "user": [0, 1, 2], "item": [5, 6, 5], "vector": [[0.0]] * 3, "nearest": nearest}
    artifact.write("encoded", pa.table({**columns}, schema=ENCODED))
    made.commit(artifact, {"encoded": 3})
    keys = (StageKey(kind) for kind in ("prepare", "ground", "encode"))
    RunRecord.of(made.config, {key: made.inputs[key.name] for key in keys}).write(RunStore(str(folder)))
    return str(folder)


def triples(table: pa.Table) -> list[tuple[object, ...]]:
    columns = ("user_id", "item_id", "split", "rating", "timestamp")
    return sorted(zip(*(table[name].to_pylist() for name in columns), strict=True))


def prepared_again(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Interactions with ids, and items, as ``prepare`` makes them of RecBole's files."""
    options = [f"data.path={folder}", "data.split.strategy=column", "data.k_core=0"]
    config = load_config([Path("recbole")], options).data
    tables = prepare_tables(read_serially(config), config, 0)
    rows, ids = tables.interactions, tables.items["item_id"]
    users = tables.users["user_id"].combine_chunks().take(rows["user"].combine_chunks())
    named = {"user_id": users, "item_id": ids.combine_chunks().take(rows["item"].combine_chunks())}
    return pa.table(named | {name: rows[name] for name in ("split", "rating", "timestamp")}), tables.items


def test_recbole_files_are_read_back_into_the_same_split(run: str, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    said = export(run, folder, "recbole")
    given = read_run(run)
    rows, items = prepared_again(folder)
    assert triples(rows) == triples(given.interactions)
    assert items.num_rows == len({*given.interactions["item_id"].to_pylist()})
    by_id = {row["item_id"]: row for row in given.items.to_pylist()}
    for row in items.drop_columns("item").to_pylist():
        assert row == by_id[row["item_id"]]
    assert said[0].startswith(f"wrote {folder}: ")
    assert said[1:3] == ["50 hard negatives, written", "2 hard negatives, tuned"]


def test_the_configuration_of_recbole_names_the_files_and_fields(run: str, tmp_path: Path) -> None:
    export(run, tmp_path / "toy", "recbole")
    options = yaml.safe_load((tmp_path / "toy" / "toy.yaml").read_text())
    for part in options["benchmark_filename"]:
        header = (tmp_path / "toy" / f"toy.{part}.inter").read_text().splitlines()[0]
        assert [field.partition(":")[0] for field in header.split("\t")] == options["load_col"]["inter"]
    header = (tmp_path / "toy" / "toy.item").read_text().splitlines()[0]
    assert [field.partition(":")[0] for field in header.split("\t")] == options["load_col"]["item"]
    commented = (tmp_path / "toy" / "toy.yaml").read_text().partition("these instead:\n")[2]
    more = yaml.safe_load("".join(line.removeprefix("# ") for line in commented.splitlines(keepends=True)))
    lines = [line.split("\t") for line in (tmp_path / "toy" / "toy.neg").read_text().splitlines()]
    assert [field.partition(":")[0] for field in lines[0]] == [*more["load_col"]["neg"], "source"]
    assert [*more["alias_of_user_id"], *more["alias_of_item_id"]] == more["load_col"]["neg"]
    given = read_run(run).negatives
    assert lines[1:] == [[*row.values()] for row in given.to_pylist()]


def test_rectools_tables_have_its_columns(run: str, tmp_path: Path) -> None:
    export(run, tmp_path / "toy", "rectools")
    given, rows = read_run(run), []
    for split in ("train", "valid", "test"):
        table = pq.read_table(tmp_path / "toy" / f"{split}.parquet")
        assert table.column_names == ["user_id", "item_id", "weight", "datetime"]
        assert table.schema.field("datetime").type == pa.timestamp("us")
        seconds = pc.divide(table["datetime"].cast(pa.int64()), 1_000_000)
        rows += triples(
            pa.table({"split": [split] * len(table), "rating": table["weight"], "timestamp": seconds})
            .append_column("user_id", table["user_id"])
            .append_column("item_id", table["item_id"])
        )
    assert sorted(rows) == triples(given.interactions)
    features = pq.read_table(tmp_path / "toy" / "item_features.parquet").to_pylist()
    assert features[:2] == [{"id": "i0", "feature": "category", "value": name} for name in ("Home", "Tea")]
    assert len(features) == 2 * N_ITEMS
    negatives = pq.read_table(tmp_path / "toy" / "negatives.parquet").to_pylist()
    written = [row for row in negatives if row["source"] == "written"]
    assert len(written) == N_USERS - 10
    assert written[3] == {"user_id": "u3", "item_id": "i0", "negative_id": "i3", "source": "written"}
    tuned = [row for row in negatives if row["source"] == "tuned"]
    assert [(row["user_id"], row["negative_id"]) for row in tuned] == [("u1", "i7"), ("u2", "i8")]


def odd(timestamp: list[int | None], user: str = "u") -> RunData:
    ids = [f"i{number}" for number in range(4)]
    interactions = {"user_id": [user] * 4, "item_id": ids, "rating": pa.array([1e7, 4.5, 5.0, 3.0], pa.float32())}
    rest = {"timestamp": pa.array(timestamp, pa.int64()), "split": ["train", "train", "valid", "test"]}
    none = pa.table(dict.fromkeys(("user_id", "item_id", "negative_id", "source"), pa.array([], pa.string())))
    return RunData(pa.table({**interactions, **rest}), pa.table({"item_id": ids, **ODD}), none)


def test_odd_texts_do_not_break_recbole_files(tmp_path: Path) -> None:
    FORMS["recbole"](odd([1, 2, 3, 4]), tmp_path, "odd")
    assert not [line for line in (tmp_path / "odd.item").read_text().split("\n") if line.count("\t") not in (0, 4)]
    rows, items = prepared_again(tmp_path)
    assert rows["rating"].to_pylist() == [1e7, 4.5, 5.0, 3.0]
    assert items["title"].to_pylist() == ["'Weird Al\" Yankovic", "Tab here", "Plain", "Line end"]
    assert items["brand"].to_pylist() == ODD["brand"]
    assert items["categories"].to_pylist() == ODD["categories"]


@pytest.mark.parametrize("user", ["a\tb", '"a', "a\nb"])
def test_an_id_that_recbole_cannot_hold_is_named(user: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the user_id .* cannot hold; use --format rectools"):
        FORMS["recbole"](odd([1, 2, 3, 4], user), tmp_path, "odd")


def test_times_that_are_missing(tmp_path: Path) -> None:
    said = FORMS["recbole"](odd([None] * 4), tmp_path, "odd")
    assert said[0] == "no timestamp was written, because not every interaction has one"
    assert prepared_again(tmp_path)[0].num_rows == 4
    with pytest.raises(DataError, match=r"1 of 4 interactions have no time"):
        FORMS["rectools"](odd([None, 1, 2, 3]), tmp_path, "odd")
    said = FORMS["rectools"](odd([None] * 4), tmp_path, "odd")
    assert said == ["the data has no times: datetime counts the interactions of a user, as seconds from 1970"]
    assert pc.max(pq.read_table(tmp_path / "test.parquet")["datetime"]).as_py().second == 3


def failing(data: RunData, folder: Path, name: str) -> list[str]:
    (folder / "half").write_text("")
    raise DataError("it cannot be held", "use another")


def test_nothing_half_written_is_left(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[[RunData, Path, str], list[str]] = failing
    monkeypatch.setitem(FORMS, "recbole", write)
    with pytest.raises(DataError):
        export(run, tmp_path / "toy", "recbole")
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_holds_something_is_kept(run: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(StoreError, match="is a file or holds files"):
        export(run, tmp_path, "recbole")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(StoreError, match="is no run folder"):
        export(str(tmp_path), tmp_path / "toy", "recbole")

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import DataError
from hnlm_ray.run.execute import execute
from hnlm_ray.run.plan import plan
from hnlm_ray.run.stage import StageContext
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.stages.prepare import run


def prepared(config: Config) -> Artifact:
    """Run the stage through the pipeline, as a user does."""
    run_plan = plan(config)
    execute(config, run_plan, only=["prepare"])
    return run_plan["prepare"].artifact


def test_the_generated_world(tmp_path: Path) -> None:
    config = load_config([], ["data.demo={users: 50, items: 40, interactions: 700}", "data.min_rating=4"])
    output = RunStore(str(tmp_path)).artifact("prepare", "x")
    output.create()
    said: list[str] = []
    summary = run(StageContext(config, {}, output, said.append))
    assert {name: output.read(name).num_rows for name in summary.rows} == dict(summary.rows)
    assert set(summary.rows) == {"users", "items", "interactions", "truth"}
    assert summary.rows["truth"] == summary.rows["users"] * summary.rows["items"]
    assert f"{summary.counts['interactions']:,} interactions" in said[0]


def test_the_files_that_are_read_are_said(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 7},i{n % 11}\n" for n in range(77))
    (tmp_path / "interactions.csv").write_text("user_id,item_id\n" + rows + "u1,i1,x\n")
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(11)))
    config = load_config([], ["data.format=table", f"data.path={tmp_path}", "data.max_bad_rows=0.1"])
    output = RunStore(str(tmp_path / "run")).artifact("prepare", "x")
    output.create()
    said: list[str] = []
    summary = run(StageContext(config, {}, output, said.append))
    assert said[0] == f"interactions from interactions.csv, items from items.csv, in {tmp_path}"
    assert summary.warnings[0].startswith(
        f"1 line malformed and left out: {tmp_path / 'interactions.csv'}:79 (3 fields"
    )


def test_features_of_items_and_users_are_tables_of_their_own(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 7},i{n % 11}\n" for n in range(77))
    (tmp_path / "interactions.csv").write_text("user_id,item_id\n" + rows)
    (tmp_path / "items.csv").write_text("item_id,title,price\n" + "".join(f"i{n},Thing {n},{n}\n" for n in range(9)))
    (tmp_path / "people.csv").write_text("name,country\n" + "".join(f"u{n},C{n % 2}\n" for n in range(7)))
    users = "{file: people.csv, id: name, categorical: [country]}"
    options = ["data.features.items.numeric=[price]", f"data.features.users={users}"]
    config = load_config([], ["data.format=table", f"data.path={tmp_path}", "data.max_unknown_items=1", *options])
    output = RunStore(str(tmp_path / "run")).artifact("prepare", "x")
    output.create()
    summary = run(StageContext(config, {}, output))
    assert summary.rows["item_features"] == 9
    ids = output.read("items")["item_id"].to_pylist()
    prices = {ids[row["item"]]: row["value"] for row in output.read("item_features").to_pylist()}
    assert prices == {f"i{n}": n for n in range(9)}
    assert output.read("user_features")["names"].to_pylist() == [[f"C{n % 2}"] for n in range(7)]


def write_reviews(folder: Path, files: int = 2, lines: int = 40) -> None:
    folder.mkdir()
    for number in range(files):
        reviews = [
            {"reviewerID": f"A{line % 7}", "asin": f"B{number}{line}", "overall": 5.0, "unixReviewTime": 10**9 + line}
            for line in range(lines)
        ]
        text = "".join(json.dumps(row) + "\n" for row in reviews)
        (folder / f"reviews_{number}.json").write_text(text)
    products = [{"asin": f"B0{line}", "title": "Kettle &amp; cup"} for line in range(lines)]
    (folder / "meta_0.json").write_text("".join(json.dumps(row) + "\n" for row in products))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_files_of_lines_are_read_through_ray(tmp_path: Path) -> None:
    write_reviews(tmp_path / "raw")
    config = load_config([], ["data.format=amazon2018", f"data.path={tmp_path / 'raw'}", f"run={tmp_path / 'run'}"])
    output = prepared(config)
    counts = output.manifest().counts
    assert (counts["users"], counts["items"], counts["interactions"]) == (7, 80, 80)
    assert counts["items_unknown"] == 40
    assert output.read("items")["title"][0].as_py() == "Kettle & cup"
    times = output.read("interactions").to_pandas().groupby("user")["timestamp"]
    assert all(values.is_monotonic_increasing for _, values in times)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_malformed_line_stops_the_run_with_its_file_and_line(tmp_path: Path) -> None:
    write_reviews(tmp_path / "raw")
    with (tmp_path / "raw" / "reviews_1.json").open("a") as stream:
        stream.write("{\n")
    config = load_config([], ["data.format=amazon2018", f"data.path={tmp_path / 'raw'}", f"run={tmp_path / 'run'}"])
    with pytest.raises(DataError, match=r"reviews_1\.json:41: not a JSON object"):
        prepared(config)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("reviews_1.json", b"", "is empty"),
        ("reviews_1.json.gz", gzip.compress(bytes(range(256)) * 4096)[:300], "cannot be read"),
    ],
    ids=["found by the task that reads", "damaged in the middle"],
)
def test_an_error_inside_a_ray_task_reaches_the_user_as_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes, problem: str
) -> None:
    write_reviews(tmp_path / "raw", files=1)
    (tmp_path / "raw" / name).write_bytes(content)
    options = ["data.format=amazon2018", f"data.path={tmp_path / 'raw'}", "data.interactions=reviews_*"]
    with pytest.raises(DataError, match=problem) as caught:
        prepared(load_config([], [*options, f"run={tmp_path / 'run'}"]))
    assert str(caught.value).startswith(str(tmp_path / "raw" / name))
    assert "Traceback" not in str(caught.value) + "".join(capfd.readouterr())

"""Readers of one's own: in a configuration, in a run, and one sentence for what they get wrong."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow as pa
import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.data.checks import check
from hnlm_ray.data.own import read_own
from hnlm_ray.errors import ConfigError, DataError
from hnlm_ray.run.feedback import append_events, writable_folder
from hnlm_ray.run.plan import planned_stages
from hnlm_ray.run.stage import StageContext, StageKey
from hnlm_ray.run.store import RunStore
from hnlm_ray.stages import prepare
from hnlm_ray.tables import FEEDBACK

MODULE = """
import pandas as pd
import pyarrow as pa


class Reader:
    def __init__(self, path, users=30, items=True):
        self.path, self.users, self.has_items = path, users, items

    def interactions(self):
        pairs = [(f"u{user}", f"i{item}") for user in range(self.users) for item in range(20) if (user + item) % 2]
        yield pd.DataFrame(pairs[:100], columns=["user_id", "item_id"])
        yield pa.table({"user_id": [user for user, _ in pairs[100:]], "item_id": [item for _, item in pairs[100:]]})

    def items(self):
        return pd.DataFrame({"item_id": [f"i{n}" for n in range(20)], "title": "thing"}) if self.has_items else None


class Broken(Reader):
    def interactions(self):
        raise ConnectionError("no such host")


class Empty(Reader):
    def interactions(self):
        return []


class Nonsense(Reader):
    def interactions(self):
        return 7


class Nameless(Reader):
    def interactions(self):
        return pd.DataFrame({"user_id": ["a"], "thing": ["b"]})


class Half:
    def __init__(self, path):
        pass

    def interactions(self):
        return None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working folder."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def configured(module: str, kind: str = "Reader", **options: object) -> Config:
    own = ", ".join([f"class: {module}.{kind}", *(f"{name}: {value}" for name, value in options.items())])
    return load_config([], [f"data.reader={{{own}}}"])


def test_a_run_is_prepared_from_what_a_reader_gives(module: str, tmp_path: Path) -> None:
    config = configured(module, users=24)
    assert config.data.format == "own"
    output = RunStore(str(tmp_path / "run")).artifact("prepare", "0")
    output.create()
    summary = prepare.run(StageContext(config, {}, output))
    assert summary.rows == {"users": 24, "items": 20, "interactions": 240}
    assert set(output.read("items")["title"].to_pylist()) == {"thing"}
    assert Config.model_validate(config.model_dump(mode="json")) == config
    assert check(config.data).problems == []


def test_feedback_goes_with_a_reader_too(module: str, tmp_path: Path) -> None:
    event = {"user_id": "new", "item_id": "i1", "time": 40.0, "received": 40.0}
    append_events(writable_folder(str(tmp_path / "events")), pa.Table.from_pylist([event], schema=FEEDBACK))
    options = [f"data.reader={{class: {module}.Reader, users: 24}}", f"data.feedback={tmp_path / 'events'}"]
    output = RunStore(str(tmp_path / "run")).artifact("prepare", "0")
    output.create()
    summary = prepare.run(StageContext(load_config([], options), {}, output))
    assert (summary.rows["interactions"], summary.counts["feedback_events"]) == (241, 1)
    assert "new" in output.read("users")["user_id"].to_pylist()


def test_a_reader_may_have_no_items(module: str) -> None:
    raw, config = read_own(configured(module, items="false").data)
    assert len(raw.items) == 0
    assert config.items == ""
    assert check(configured(module, items="false").data).problems == []


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("Broken", DataError, r"Broken.interactions\(\) failed with ConnectionError: no such host; correct the reader"),
        ("Empty", DataError, r"Empty.interactions\(\) gives nothing"),
        ("Nonsense", DataError, r"the rows of .*Nonsense.interactions\(\) are a int that Arrow cannot read"),
        ("Nameless", DataError, r"Nameless.interactions\(\).* 'item_id'"),
        ("Half", ConfigError, r"Half has no method items; see `docs/data.md`"),
        ("Absent", ConfigError, r"data.reader.class=.*Absent cannot be loaded"),
    ],
)
def test_what_a_reader_gets_wrong_is_one_sentence(module: str, kind: str, error: type[Exception], said: str) -> None:
    config = configured(module, kind)
    with pytest.raises(error, match=said) as caught:
        read_own(config.data)
    assert check(config.data).problems == [str(caught.value)]


def test_options_that_it_does_not_take_are_one_sentence(module: str) -> None:
    with pytest.raises(ConfigError, match=r"does not take 1 argument\(s\) and size .*see `docs/data.md`"):
        read_own(configured(module, size=3).data)


def test_format_and_reader_go_together(module: str) -> None:
    with pytest.raises(ConfigError, match=r"format 'own' needs data\.reader"):
        load_config([], ["data.format=own"])
    with pytest.raises(ConfigError, match=r"there is a reader, and format is 'table': set data\.format=own"):
        load_config([], ["data.format=table", "data.path=x", f"data.reader={{class: {module}.Reader}}"])


def test_another_reader_is_other_data(module: str, tmp_path: Path) -> None:
    def fingerprint(config: Config) -> str:
        store = RunStore(str(tmp_path / "run"))
        return planned_stages(config, store, [StageKey("prepare")])[0].artifact.fingerprint

    first = fingerprint(configured(module))
    assert fingerprint(configured(module)) == first
    assert fingerprint(configured(module, users=10)) != first
    with (tmp_path / f"{module}.py").open("a") as file:
        file.write("# changed\n")
    assert fingerprint(configured(module)) != first


def test_an_entry_point_gives_a_reader_a_name(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("shop", f"{module}:Reader", "hnlm_ray.readers")
    monkeypatch.setattr(
        "hnlm_ray.config.plugins.entry_points",
        lambda group, name: [point] if (group, name) == ("hnlm_ray.readers", "shop") else [],
    )
    raw, _ = read_own(load_config([], ["data.reader=shop"]).data)
    assert len(raw.interactions) == 300
    with pytest.raises(ConfigError, match=r"no installed package gives 'shops' in the group hnlm_ray\.readers"):
        load_config([], ["data.reader=shops"])


def test_the_example_of_the_page_reads_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    chapter = page.split("\n### A reader of your own\n")[1].split("\n### ")[0]
    (program,), (options,) = (re.findall(rf"```{kind}\n(.*?)```", chapter, re.DOTALL) for kind in ("python", "yaml"))
    name = f"page_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(program)
    (tmp_path / "mine.yaml").write_text(
        options.replace("mine.Reader", f"{name}.Reader").replace("exports", str(tmp_path))
    )
    for month in range(1, 7):
        (tmp_path / f"orders-{month:02}.csv").write_text(f"customer;article;ordered\n7;a;2026-0{month}-01\n")
    (tmp_path / "catalogue.json").write_text('{"article": "a", "label": "Tea"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    raw, _ = read_own(load_config([tmp_path / "mine.yaml"]).data)
    assert raw.interactions["user_id"].to_pylist() == ["7"] * 6
    assert len(set(raw.interactions["moment"].to_pylist())) == 6
    assert raw.items.select(["item_id", "title"]).to_pylist() == [{"item_id": "a", "title": "Tea"}]

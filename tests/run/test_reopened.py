"""A run folder in place of a configuration."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError, HnlmError, StoreError
from hnlm_ray.run.dependencies import is_decisive
from hnlm_ray.run.plan import plan
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.reopened import finished, recorded_run, reopen
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import RunStore

OPTIONS = ["data.min_rating=4", "train.variants={uniform: {}, dns: {sampler: dns}}", "train.seeds=[0,1]"]


def record(folder: Path, *overrides: str) -> str:
    """A run folder with its record alone."""
    folder.mkdir()
    config = load_config([], [f"run={folder}", *overrides])
    planned = plan(config)
    RunRecord.of(config, {stage.key: stage.artifact for stage in planned.stages}).write(planned.store)
    return str(folder)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return record(tmp_path / "mine", *OPTIONS)


def test_a_folder_gives_the_configuration_that_it_was_run_with(run: str) -> None:
    assert reopen(run) == load_config([], [f"run={run}", *OPTIONS])


def test_a_folder_that_was_moved_is_where_it_is_now(run: str, tmp_path: Path) -> None:
    moved = Path(run).rename(tmp_path / "elsewhere")
    config = reopen(str(moved))
    assert config.run == str(moved)
    assert recorded_run(str(moved), config).stages[0].artifact.path.startswith(str(moved))


def test_options_that_do_not_decide_what_a_run_is_are_taken(run: str) -> None:
    config = reopen(run, [], ["serve.port=9000", "cluster.num_cpus=8", "train.workers=3", "serve.also=[dns]"])
    assert (config.serve.port, config.train.workers, config.serve.also) == (9000, 3, ("dns",))
    assert config.data.min_rating == 4


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.min_rating=3", "this run has data.min_rating=4, you gave 3"),
        ("train.seeds=[0]", "this run has train.seeds=[0, 1], you gave [0]"),
        ("train.variants.dns.sampler=uniform", "this run has train.variants.dns.sampler=dns, you gave uniform"),
        ("train.variants.mf={backbone: mf}", "this run has no train.variants.mf, which you gave"),
        ("train.variants={uniform: {}}", "this run has train.variants.dns, which you left out"),
        ("data.path=/elsewhere", "this run has data.path=null, you gave /elsewhere"),
        ("llm.model=Qwen/Qwen3-8B", "this run has llm.model=demo, you gave Qwen/Qwen3-8B"),
        ("run=/another/place", "two runs are named"),
    ],
)
def test_an_option_that_the_run_has_otherwise_is_named(run: str, override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reopen(run, [], [override])
    assert expected in str(caught.value)
    assert run in str(caught.value)


def test_the_options_of_the_run_may_be_given_again(run: str) -> None:
    assert reopen(run, [], [f"run={run}", *OPTIONS]) == reopen(run)


def test_a_file_is_compared_and_its_run_folder_is_not(run: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("run: runs/of/the/file\ndata: {min_rating: 4}\nserve: {port: 9001}\n")
    assert (reopen(run, [file]).run, reopen(run, [file]).serve.port) == (run, 9001)
    file.write_text("data: {min_rating: 2}\ntrain: {variants: {'*': {epochs: 7}}}\n")
    with pytest.raises(ConfigError, match=r"data.min_rating=4, you gave 2 \| train.variants.uniform.epochs=100, you"):
        reopen(run, [file])


def test_many_differences_are_counted(run: str) -> None:
    with pytest.raises(ConfigError, match=r" \| and 1 more; leave"):
        reopen(run, [], [f"train.variants.dns.{name}=7" for name in ("dim", "epochs", "batch_size", "l2", "init_std")]
               + ["seed=3"])  # fmt: skip


def test_a_folder_without_a_record_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is no run folder, it has no run\.json"):
        reopen(str(tmp_path))


def test_a_record_of_another_version_is_one_sentence(run: str) -> None:
    path = Path(run) / "run.json"
    content = json.loads(path.read_text())
    content["version"], content["config"]["train"]["wokers"] = "9.9", 2
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError) as caught:
        reopen(run)
    assert "run.json was written by hnlm-ray 9.9 and cannot be read by" in str(caught.value)
    assert "train.wokers" in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "null", "{}", "not json", '{"config": {"train": {"variants": {}}}}'])
def test_a_damaged_record_is_one_sentence(run: str, content: str) -> None:
    (Path(run) / "run.json").write_text(content)
    with pytest.raises(StoreError, match=r"run\.json cannot be read"):
        reopen(run)


def test_what_is_not_finished_is_named_with_the_way_to_finish_it(run: str) -> None:
    config = reopen(run)
    with pytest.raises(StoreError, match=r"is not finished, it lacks bundle.best; finish it with `hnlm run /"):
        finished(recorded_run(run, config), config, StageKey("bundle", "best"))
    with pytest.raises(StoreError, match=r"has bundle.best, and not bundle.dns"):
        finished(recorded_run(run, config), config, StageKey("bundle", "dns"))


def test_a_forgotten_option_is_named_where_a_configuration_finds_nothing(run: str) -> None:
    config = load_config([], [f"run={run}", *OPTIONS[1:]])
    with pytest.raises(
        StoreError, match=r"no report for this configuration: this run has data.min_rating=4, you gave null"
    ):
        finished(plan(config), config, StageKey("report"))


EVERYTHING = (
    "train.variants={uniform: {}, text: {semantic: {mixing: {share: 0.1}}}, tuned: {semantic: {source: tuned}},"
    " graph: {item_graph: {source: categories}}}"
)


def every_option(section: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Paths of the options outside the variants, with their types and values."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from every_option(value, (*path, name))
        else:
            yield (*path, name), field.annotation, value


def another(kind: Any, value: Any) -> list[Any]:
    """Other values of an option, of which its section accepts some."""
    choices = [one for part in (kind, *typing.get_args(kind)) for one in typing.get_args(part)]
    literal = [one for one in choices if isinstance(one, str) and one != value]
    if literal:
        return literal
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [one for one in (value + 1, value / 2, value * 2, 0.5) if one != value]
    return [2, 0.5, {"a": 1}, ["a"], [7], "a", "2020-01-01", "uniform"]


def prints(config: Config) -> dict[str, str]:
    return {stage.name: stage.artifact.fingerprint for stage in plan(config).stages}


def test_an_option_is_decisive_if_a_fingerprint_covers_it() -> None:
    """Every option outside the variants is changed; only sections that the options of others switch on are left out."""
    given = [EVERYTHING, "llm.engine=http", "tune.keep=null"]
    base, compared = load_config([], given), set()
    before = prints(base)
    for path, kind, value in every_option(base):
        for other in another(kind, value):
            try:
                after = prints(load_config([], [*given, f"{'.'.join(path)}={json.dumps(other)}"]))
            except HnlmError:
                continue
            if is_served(path) or after.keys() != before.keys():
                continue
            assert is_decisive(path) == (after != before), path
            compared.add(path[0])
            break
    assert compared >= {"seed", "data", "llm", "embed", "profiles", "negatives", "train", "tune", "encode", "evaluate"}
    assert compared >= {"serve", "cluster"}


def is_served(path: tuple[str, ...]) -> bool:
    return path in {("serve", "variant"), ("serve", "also")}


def test_the_record_survives_what_it_is_read_for(run: str) -> None:
    before = (Path(run) / "run.json").read_bytes()
    reopen(run, [], ["serve.port=9000"])
    assert (Path(run) / "run.json").read_bytes() == before
    assert RunStore(run).read_text("run.json") is not None

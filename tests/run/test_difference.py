"""What changed from one run to another."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli import main
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.run.difference import option_differences, stage_differences
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.store import RunStore
from tests.report.small_runs import values, write_run


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    write_run(tmp_path / "a", {"uniform": {0: values(0.1, 0)}, "dns": {0: values(0.2, 1)}})
    variants = {"uniform": VariantConfig(dim=8, epochs=7), "mf": VariantConfig(backbone={"name": "mf"})}
    write_run(tmp_path / "b", {"uniform": {0: values(0.1, 0)}, "mf": {0: values(0.2, 1)}}, "more", variants=variants)
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def records(runs: list[str]) -> list[RunRecord]:
    return [RunRecord.read(RunStore(path), path) for path in runs]


def test_options_that_differ_are_listed_with_both_values(runs: list[str]) -> None:
    found = {one.option: (one.first, one.second, one.decides) for one in option_differences(*records(runs))}
    assert found["train.variants.uniform.dim"] == ("64", "8", True)
    assert found["train.variants.uniform.epochs"] == ("100", "7", True)
    assert found["train.variants.dns"] == ("{...}", "", True)
    assert found["train.variants.mf"][0] == ""
    assert len(found) == 4


def test_stages_are_the_same_where_their_fingerprints_are(runs: list[str]) -> None:
    found = {one.stage: one.state for one in stage_differences(*records(runs))}
    assert found == {
        "prepare": "changed",
        "train.uniform.s0": "same",
        "train.dns.s0": "only in the first",
        "evaluate": "same",
        "train.mf.s0": "only in the second",
    }


def test_a_run_does_not_differ_from_itself(runs: list[str]) -> None:
    one = records(runs)[0]
    assert option_differences(one, one) == []
    assert {stage.state for stage in stage_differences(one, one)} == {"same"}
    said = CliRunner().invoke(main.app, ["diff", runs[0], runs[0]]).stdout
    assert "The options are the same." in said


def test_rows_that_are_not_as_many_are_shown(runs: list[str]) -> None:
    artifact = records(runs)[1].artifacts
    (prepare,) = [one for key, one in artifact.items() if key.kind == "prepare"]
    prepare.commit({"seconds": 1.0, "rows": {"interactions": 1234}, "counts": {}, "warnings": [], "inputs": {}})
    said = CliRunner().invoke(main.app, ["diff", *runs]).stdout
    assert "interactions - → 1,234" in said
    assert "train.variants.uniform.dim" in said


def test_a_folder_that_is_no_run_is_a_sentence(runs: list[str], tmp_path: Path) -> None:
    assert "is no run folder" in str(CliRunner().invoke(main.app, ["diff", runs[0], str(tmp_path / "c")]).exception)

"""Problems that ``hnlm validate`` names before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.cli.validation import examine, nearest_folder
from hnlm_ray.config.load import load_config


def test_the_defaults_have_no_problem(tmp_path: Path) -> None:
    assert examine(load_config(overrides=[f"run={tmp_path}"])).problems == []


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    wrong = [f"run={file / 'run'}", "data.format=table", f"data.path={tmp_path / 'none'}", "train.workers=64"]
    found = examine(load_config(overrides=wrong)).problems
    for part in (f"run: {file} is a file", str(tmp_path / "none"), "train.workers needs 65 logical CPUs"):
        assert [sentence for sentence in found if part in sentence], part


def test_a_cluster_of_others_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = [f"run={tmp_path}", "train.workers=64"]
    assert examine(load_config(overrides=options)).problems
    assert not examine(load_config(overrides=[*options, "cluster.address=ray-head:6379"])).problems


def test_the_nearest_folder_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert nearest_folder(str(tmp_path)) == tmp_path
    assert nearest_folder(str(tmp_path / "not" / "yet")) == tmp_path
    assert nearest_folder("~/not/yet") == tmp_path
    assert nearest_folder("s3://bucket/run?region=us-east-1") is None

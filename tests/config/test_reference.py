"""The page of all options, and a configuration written out in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli.main import app
from hnlm_ray.config.load import load_config, shipped_configs
from hnlm_ray.config.reference import as_markdown, as_yaml, differences, sections

ROOT = Path(__file__).parents[2]
OPTIONS = {one.path: one for _, _, options in sections() for one in options}


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, ["config", *words])
    assert done.exit_code == 0, done.exception
    return done.stdout


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == as_markdown() == printed("--markdown")


def test_every_option_says_what_it_means() -> None:
    assert [path for path, one in OPTIONS.items() if not one.help] == []
    assert [path for path, about, _ in sections() if not about] == []


@pytest.mark.parametrize(
    ("path", "kind", "default"),
    [
        ("tune.workers", "integer, at least 1", "1"),
        ("serve.port", "integer, at least 1, at most 65535", "8000"),
        ("serve.variant", "text", "best"),
        ("data.min_rating", "number or null", "null"),
        ("data.date_from", "date or null", "null"),
        ("llm.accelerator", "`cpu`, `gpu`", "cpu"),
        ("evaluate.cutoffs", "list of integer", "[10, 20]"),
        ("train.variants.<name>.sampler: dns.candidates", "integer, at least 1", "8"),
        ("train.variants.<name>.semantic.mixing.share", "number, at least 0, at most 1", "0.0"),
        ("serve.bundles.<name>.path", "text", "required"),
    ],
)
def test_an_option_has_its_type_and_default(path: str, kind: str, default: str) -> None:
    assert (OPTIONS[path].kind, OPTIONS[path].default) == (kind, default)


@pytest.mark.parametrize("name", ["demo", "gpu"])
def test_a_configuration_written_out_is_the_same_configuration(name: str, tmp_path: Path) -> None:
    config = load_config([shipped_configs()[name]])
    (tmp_path / "all.yaml").write_text(as_yaml(config))
    assert load_config([tmp_path / "all.yaml"]) == config
    assert printed("-c", name) == printed("-c", name, "--show") == as_yaml(config)
    assert "# Port that the service listens on.\n  port: 8000\n" in as_yaml(config)


def test_what_differs_from_the_defaults_is_listed_as_overrides() -> None:
    given = ["train.workers=3", "train.variants.mine={backbone: mf, epochs: 7}", "train.variants.uniform.l2=1.0e-06"]
    config = load_config([], given)
    found = {path: value for path, value, _ in differences(config)}
    assert found == {
        "train.workers": "3", "train.variants.uniform.l2": "1.0e-06", "train.variants.mine": "{}",
        "train.variants.mine.backbone": "{name: mf}", "train.variants.mine.epochs": "7",
    }  # fmt: skip
    assert load_config([], [f"{path}={value}" for path, value in found.items()]) == config
    assert "train.workers=3  # default null\n" in printed("--diff", *given)


def test_the_schema_is_json() -> None:
    assert json.loads(printed("--schema"))["properties"]["train"]


def test_one_form_at_a_time() -> None:
    done = CliRunner().invoke(app, ["config", "--show", "--diff"])
    assert "give one of them" in str(done.exception)

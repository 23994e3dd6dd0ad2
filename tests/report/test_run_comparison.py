"""The comparison of finished runs: every figure of the page from an independent computation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from hnlm_ray.cli.main import app
from hnlm_ray.config.semantic import MixingOptions, SemanticOptions
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import ConfigError, DataError
from hnlm_ray.evaluation.significance import holm
from hnlm_ray.report.compare_runs import compare_runs
from hnlm_ray.report.run_comparison import RunComparison, render_comparison
from hnlm_ray.run.finished import open_runs
from tests.report.small_runs import N_USERS, Values, values, write_run

FIRST: Values = {"uniform": {0: values(0.20, 0), 1: values(0.22, 1)}, "dns": {0: values(0.30, 2)}}
SECOND: Values = {"uniform": {0: values(0.21, 3)}, "ease": {0: values(0.25, 4)}}
BASELINES = {"uniform": VariantConfig(dim=8), "ease": VariantConfig(backbone="ease", dim=8)}


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    write_run(tmp_path / "old", FIRST)
    write_run(tmp_path / "new", SECOND, variants=BASELINES)
    return [str(tmp_path / "old"), str(tmp_path / "new")]


@pytest.fixture
def comparison(paths: list[str]) -> RunComparison:
    return compare_runs(open_runs(paths))


def test_every_variant_of_every_run_is_a_method_and_the_baseline_comes_first(comparison: RunComparison) -> None:
    assert [method.name for method in comparison.methods] == ["old:uniform", "old:dns", "new:uniform", "new:ease"]
    assert comparison.baseline == "old:uniform"
    assert comparison.chosen.name == "old:dns"
    assert [result.name for result in comparison.references] == ["random"]
    seeds = [method.result.seeds for method in comparison.methods]
    assert seeds == [2, 1, 1, 1]


def test_means_intervals_and_tests_are_those_of_the_users(comparison: RunComparison) -> None:
    base = np.mean([FIRST["uniform"][0], FIRST["uniform"][1]], axis=0)
    others = [FIRST["dns"][0], SECOND["uniform"][0], SECOND["ease"][0]]
    assert comparison.methods[0].result.cells["ndcg", 20].mean == pytest.approx(base.mean())
    expected = holm([stats.ttest_rel(other, base).pvalue for other in others])
    for method, other, p_value in zip(comparison.methods[1:], others, expected, strict=True):
        difference, interval = method.differences["ndcg"], method.intervals["ndcg"]
        assert difference.interval.mean == pytest.approx((other - base).mean())
        assert difference.t_test == pytest.approx(p_value)
        assert interval is not None
        assert interval.mean == pytest.approx(other.mean())
        half = 1.96 * other.std(ddof=1) / np.sqrt(N_USERS)
        assert (interval.low, interval.high) == pytest.approx((other.mean() - half, other.mean() + half), abs=0.004)
    assert comparison.methods[0].differences == {}
    assert comparison.methods[1].differences["ndcg"].verdict == "better"


def test_cost_is_the_mean_over_seeds(comparison: RunComparison) -> None:
    cost = comparison.methods[0].cost
    assert (cost.seconds, cost.epochs, cost.best_epoch, cost.parameters) == (6.5, 4, 2.5, 1000)


def test_only_options_that_differ_and_are_read_are_shown(comparison: RunComparison, paths: list[str]) -> None:
    trained = compare_runs(open_runs(paths[:1])).methods
    assert [method.options for method in trained] == [{"backbone": "lightgcn(layers=3)"}] * 2
    options = [method.options for method in comparison.methods]
    assert (options[0]["dim"], options[2]["dim"], options[3]["dim"]) == ("64", "8", "\N{EN DASH}")
    assert options[3]["backbone"] == "ease(ridge=500.0)"
    assert "sampler" not in options[3]  # the same for all that are trained


def test_semantic_options_are_one_cell(tmp_path: Path) -> None:
    semantic = SemanticOptions(source="tuned", mixing=MixingOptions(share=0.2))
    variants = {"plain": VariantConfig(), "hnlm": VariantConfig(semantic=semantic)}
    write_run(tmp_path / "run", {name: {0: values(0.1, 9)} for name in variants}, variants=variants)
    options = [method.options["semantic"] for method in compare_runs(open_runs([str(tmp_path / "run")])).methods]
    assert sorted(options) == ["tuned(mixing.share=0.2)", "\N{EN DASH}"]


def test_the_page_has_every_part_and_fetches_nothing(comparison: RunComparison) -> None:
    page = render_comparison(comparison)
    for words in ("Results on the test split", "Learning curves", "Accuracy by users and items", "<h2>Cost</h2>"):
        assert words in page
    labels = re.findall(r'aria-label="([^"]+)"', page)
    assert labels == [
        "Validation NDCG@20 by epoch",
        "Validation NDCG@20 by time",
        "Training loss by epoch",
        "NDCG@20 of users by their activity",
        "NDCG@20 of items by their popularity",
        "Test NDCG@20 by train interactions of recommended items",
        "Test NDCG@20 by Gini index of recommended items",
    ]
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert "<script" not in page
    clips = re.findall(r'<clipPath id="([^"]+)"', page)
    assert len(clips) == len(set(clips)) == len(labels)


def test_parts_that_the_runs_lack_are_left_out(tmp_path: Path, paths: list[str]) -> None:
    write_run(tmp_path / "plain", {"mf": {0: values(0.1, 9)}}, strata=False, beyond=False)
    page = render_comparison(compare_runs(open_runs([str(tmp_path / "plain")])))
    assert "Accuracy by users and items" not in page
    assert "Accuracy and popularity" not in page
    assert "1 method of 1 run on the same data" in page
    mixed = render_comparison(compare_runs(open_runs([*paths, str(tmp_path / "plain")])))
    assert "Accuracy by users and items" not in mixed
    assert "Gini index" in mixed


@pytest.mark.parametrize("by_path", [True, False])
def test_the_baseline_may_be_named_by_folder_or_label(paths: list[str], by_path: bool) -> None:
    wanted = f"{paths[1]}:ease" if by_path else "new:ease"
    found = compare_runs(open_runs(paths), wanted)
    assert found.baseline == found.methods[0].name == "new:ease"
    assert len(found.methods) == 4


def test_a_baseline_that_does_not_exist_is_a_sentence(paths: list[str]) -> None:
    with pytest.raises(ConfigError, match="no 'new:dns' to compare with, there are old:uniform, old:dns, new:uniform"):
        compare_runs(open_runs(paths), "new:dns")


def test_other_users_cannot_be_paired(tmp_path: Path, paths: list[str]) -> None:
    short = {"mf": {0: values(0.1, 9)[:-1]}}
    write_run(tmp_path / "short", short)
    with pytest.raises(DataError, match="short:mf was evaluated on other users than old:uniform"):
        compare_runs(open_runs([*paths, str(tmp_path / "short")]))


def test_names_are_escaped(tmp_path: Path) -> None:
    attack = "<script>alert(1)"
    write_run(tmp_path / "run", {attack: {0: values(0.1, 9)}})
    assert attack not in render_comparison(compare_runs(open_runs([str(tmp_path / "run")])))


def test_the_command_writes_the_page_and_prints_the_table(paths: list[str], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["compare", *paths, "--out", str(out), "--baseline", "new:uniform"])
    assert done.exit_code == 0, done.output
    assert out.read_text().startswith("<!doctype html>")
    assert "new:uniform" in out.read_text()

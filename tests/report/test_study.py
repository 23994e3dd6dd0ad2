"""The table of a study, its sentence and its page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.search import Domain
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.evaluation.significance import holm, paired_t_test
from hnlm_ray.report.options import shown_method
from hnlm_ray.report.study import StudyPage, compared_with, study_table, verdict
from hnlm_ray.tables import HISTORY, STUDY_FITS, USER_METRICS

N_USERS = 200
NOISE = np.random.default_rng(0).normal(scale=0.02, size=(4, N_USERS))
LEVELS = {"ours": 0.30, "gcn": 0.25, "twin": 0.3, "ease": 0.1}
"""Test NDCG@20 of each variant, which each user has with a noise of its own."""
ATTACK = "<script>alert(1)</script>"


def fit_row(variant: str, trial: int, seed: int, **changed: Any) -> dict[str, Any]:
    options = VariantConfig(backbone="ease") if variant == "ease" else VariantConfig(dim=8 * (trial + 1))
    return {
        "variant": variant, "trial": trial, "drawn": f'{{"train.variants.{variant}.dim": {8 * (trial + 1)}}}',
        "options": options.model_dump_json(), "seed": seed, "status": "ok", "error": "", "chosen": trial == 0,
        "valid_ndcg": 0.2 - 0.01 * trial, "epochs": 10, "best_epoch": 8, "seconds": 30.0, "cpu_seconds": 45.0,
        "parameters": 640, "ndcg": LEVELS.get(variant, 0.2) + 0.002 * seed, "recall": 0.4, "coverage": 0.5,
        "popularity": 12.0, **changed,
    }  # fmt: skip


def fits() -> list[dict[str, Any]]:
    """Two seeds of each variant but one, and a second trial of it that was not chosen."""
    judged = [fit_row(name, 0, seed) for name in LEVELS for seed in range(1 if name == "ease" else 2)]
    return [*judged, fit_row("gcn", 1, 0, ndcg=None, recall=None)]


def users(levels: dict[str, float] = LEVELS) -> pa.Table:
    numbers = pa.array(np.arange(N_USERS, dtype=np.int32))
    parts = []
    for place, (name, level) in enumerate(levels.items()):
        for seed in range(1 if name == "ease" else 2):
            columns = {"variant": [name] * N_USERS, "seed": pa.array([seed] * N_USERS, pa.int32()), "user": numbers}
            ndcg = level + NOISE[place] * (1 + seed)
            parts.append(pa.table({**columns, "recall": ndcg, "ndcg": ndcg}).cast(USER_METRICS))
    return pa.concat_tables(parts)


def table(rows: list[dict[str, Any]] | None = None, against: str = "ours") -> pa.Table:
    return study_table(pa.Table.from_pylist(rows or fits(), schema=STUDY_FITS), users(), against, 0)


def page(rows: list[dict[str, Any]] | None = None, run: str = "runs/x") -> str:
    rows = rows or fits()
    history = pa.Table.from_pylist(
        [{"epoch": n, "seconds": n, "loss": 1.0, "valid_ndcg": 0.1} for n in (1, 2)], HISTORY
    )
    space = {"train.variants.*.dim": Domain(choice=(8, 16))}
    own = pa.Table.from_pylist(rows, schema=STUDY_FITS)
    study = StudyPage(run, table(rows), own, [0], space, {"ours": [history, history], "gcn": [history]})
    return " ".join(study.render().replace("<wbr>", "").split())


def test_a_row_has_means_and_spreads_over_seeds_of_the_chosen_trial() -> None:
    rows = {row["variant"]: row for row in table().to_pylist()}
    assert list(rows) == ["ours", "gcn", "twin", "ease"]
    gcn, ease = rows["gcn"], rows["ease"]
    assert (gcn["seeds"], gcn["trials"], gcn["trial"]) == (2, 2, 0)
    assert gcn["ndcg"] == pytest.approx(0.251)
    assert gcn["ndcg_sd"] == pytest.approx(0.002 / np.sqrt(2))
    assert (ease["seeds"], ease["ndcg_sd"], ease["method"]) == (1, None, "ease")
    assert ease["cpu_seconds"] == 45.0


def test_differences_are_over_users_and_holm_counts_every_other_variant() -> None:
    rows = {row["variant"]: row for row in table().to_pylist()}
    place = {name: number for number, name in enumerate(LEVELS)}
    values = {name: level + NOISE[place[name]] * (1.0 if name == "ease" else 1.5) for name, level in LEVELS.items()}
    others = ["gcn", "twin", "ease"]
    p = [paired_t_test(values[name], values["ours"]) for name in others]
    assert [rows[name]["p"] for name in others] == pytest.approx(p)
    assert [rows[name]["p_holm"] for name in others] == pytest.approx(holm(p))
    assert rows["gcn"]["difference"] == pytest.approx((values["gcn"] - values["ours"]).mean())
    assert rows["gcn"]["low"] < rows["gcn"]["difference"] < rows["gcn"]["high"] < 0
    assert rows["ours"]["difference"] is rows["ours"]["p"] is None
    assert compared_with(table()) == "ours"


def test_the_sentence_says_what_is_best_and_whether_by_more_than_chance() -> None:
    assert verdict(table()) == (
        "ours has the highest test NDCG@20, 0.3010, +0.0% over twin; it is significantly above 2 of 3 variants, not"
        " above twin"
    )
    clear = [row for row in table().to_pylist() if row["variant"] != "twin"]
    assert verdict(pa.Table.from_pylist(clear, schema=table().schema)) == (
        "ours has the highest test NDCG@20, 0.3010, +19.9% over gcn, and is significantly above every other variant"
        " (p < 0.001 against the next)"
    )
    assert verdict(table(against="gcn")) == (
        "ours has the highest test NDCG@20, 0.3010 against 0.2510 of gcn, which is significantly more (p < 0.001)"
    )
    ahead = [row | ({"ndcg": 0.4} if row["variant"] == "twin" else {}) for row in table().to_pylist()]
    assert "twin has the highest" in (said := verdict(pa.Table.from_pylist(ahead, schema=table().schema)))
    assert "which is not significantly more (p = " in said


def test_the_page_shows_results_intervals_trials_cost_and_configuration() -> None:
    found = page()
    assert f"<h1>{verdict(table())}.</h1>" in found
    for words in ("0.3010<small>± 0.0014</small>", "95% intervals", "as configured", "Learning curves", "45.0 s"):
        assert words in found
    assert found.count('class="interval"') == 3
    assert "Best validation NDCG@20 so far by number of trials" in found
    assert "Validation NDCG@20 by dim" in found
    assert "Fits that failed" not in found
    assert "<script" not in found
    assert "http" not in found.replace("http://www.w3.org", "")


def test_a_variant_that_could_not_be_fitted_is_named_with_its_reason_and_text_is_escaped() -> None:
    lost = fit_row("lost", 0, 0, status="failed", error=f"out of memory {ATTACK}", valid_ndcg=None, chosen=False)
    rows = [*fits(), lost]
    last = table(rows).to_pylist()[-1]
    assert (last["variant"], last["trials"], last["ndcg"], last["p"]) == ("lost", 0, None, None)
    found = page(rows, ATTACK)
    assert "Not judged: lost." in found
    assert "out of memory &lt;script&gt;" in found
    assert ATTACK not in found


def test_a_method_is_its_parts_and_not_how_long_it_is_trained() -> None:
    usual = VariantConfig(learning_rate=0.5, epochs=3, dim=8)
    assert shown_method(usual) == "lightgcn, uniform"
    rich = VariantConfig(
        backbone="mf", sampler={"name": "dns", "candidates": 4}, item_text=True, item_graph={"source": "random"},
        semantic={"source": "tuned", "mixing": {"share": 0.2}},
    )  # fmt: skip
    shown = shown_method(rich)
    assert shown.startswith("mf, dns(candidates=4), item_graph(")
    assert "source=random" in shown
    assert "item_text, " in shown
    assert "semantic=tuned(mixing.share=0.2)" in shown
    assert shown_method(VariantConfig(backbone={"name": "ease", "ridge": 5.0})) == "ease(ridge=5.0)"

from __future__ import annotations

import json

import pyarrow as pa

from hnlm_ray.report.search import render_search, summarise
from hnlm_ray.tables import SEARCH_TRIALS

ATTACK = "<script>alert(1)</script>"


def row(variant: str, trial: int, ndcg: float | None, **drawn: object) -> dict[str, object]:
    parameters = {f"train.variants.{variant}.{path}": value for path, value in drawn.items()}
    found = {"best_epoch": 5, "valid_ndcg": ndcg, "seconds": 2.0, "status": "ok", "error": ""}
    lost = {"status": "failed", "error": f"out of memory {ATTACK}"}
    key = {"variant": variant, "trial": trial, "parameters": json.dumps(parameters)}
    return {**key, **(lost if ndcg is None else found)}


ROWS = [
    row("gcn", 0, 0.10, l2=0.5, sampler={"name": "uniform"}),
    row("gcn", 1, None, l2=0.1, sampler="dns"),
    row("gcn", 2, 0.12, l2=0.01, sampler={"name": "dns"}),
    row("gcn", 3, 0.12, l2=0.001, sampler="uniform"),
    row("mf", 0, None),
    row("mf", 1, None, l2=1.0),
]
TABLE = pa.Table.from_pylist(ROWS, schema=SEARCH_TRIALS)


def test_the_first_of_the_best_finished_trials_is_chosen() -> None:
    gcn, mf = summarise(TABLE)
    assert gcn.best is not None
    assert (gcn.best["trial"], gcn.configured, gcn.seconds) == (2, 0.10, 6.0)
    assert gcn.chosen == {"l2": 0.01, "sampler": {"name": "dns"}}
    assert (mf.best, mf.configured, mf.chosen, len(mf.failed)) == (None, None, {}, 2)


def test_what_was_configured_may_be_the_best() -> None:
    [result] = summarise(TABLE.slice(0, 1))
    assert (result.best, result.chosen) == (ROWS[0], {})
    assert "as configured" in render_search("runs/x", TABLE.slice(0, 1))


def test_failed_trials_are_counted_and_shown_with_their_reason() -> None:
    page = " ".join(render_search("runs/x", TABLE).split())
    assert "6 trials of 2 variants" in page
    assert "3 of them failed" in page
    assert "1 of 4" in page
    assert "2 of 2" in page
    assert "no trial finished" in page
    assert page.count("out of memory") == 3
    assert "+20.0%" in page


def test_one_figure_per_option_beside_the_best_so_far() -> None:
    page = render_search("runs/x", TABLE)
    labels = [part.split('"', 1)[0] for part in page.split('aria-label="')[1:]]
    assert labels == [
        "Best validation NDCG@20 so far by number of trials",
        "Validation NDCG@20 by l2",
        "Validation NDCG@20 by sampler",
    ]


def test_text_is_escaped() -> None:
    assert ATTACK not in render_search(ATTACK, TABLE)

from __future__ import annotations

import json
import re

import pyarrow as pa

from hnlm_ray.config.search import Domain, SearchConfig
from hnlm_ray.report.search import render_search, summarise
from hnlm_ray.tables import SEARCH_TRIALS

OTHER = {"train.variants.*.dim": Domain(choice=(1,))}
"""A space without the options of the rows."""

ATTACK = "<script>alert(1)</script>"


def row(variant: str, trial: int, ndcg: float | None, **drawn: object) -> dict[str, object]:
    parameters = {f"train.variants.{variant}.{path}": value for path, value in drawn.items()}
    found = {"epochs": 8, "best_epoch": 5, "valid_ndcg": ndcg, "seconds": 2.0, "status": "ok", "error": ""}
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
    assert "as configured" in render_search("runs/x", TABLE.slice(0, 1), SearchConfig())


def test_one_trial_of_one_variant_is_no_plural() -> None:
    page = " ".join(render_search("runs/x", TABLE.slice(0, 1), SearchConfig()).split())
    assert "<h1>1 trial of 1 variant</h1>" in page
    assert "Every variant" not in page
    assert "stopped" not in page
    assert "1 trial failed" in " ".join(render_search("runs/x", TABLE.slice(0, 2), SearchConfig()).split())


def test_a_stopped_trial_counts_with_its_best_epoch_and_is_called_stopped() -> None:
    rows = [ROWS[0], {**ROWS[2], "status": "stopped"}, {**ROWS[3], "status": "stopped", "valid_ndcg": 0.01}, ROWS[1]]
    table = pa.Table.from_pylist(rows, schema=SEARCH_TRIALS)
    [result] = summarise(table)
    assert result.best == rows[1]
    assert (len(result.finished), len(result.stopped), len(result.failed)) == (3, 2, 1)
    page = " ".join(render_search("runs/x", table, SearchConfig()).split())
    assert "2 trials ended early" in page
    assert "<td>4</td><td>24</td> <td>2 of 4</td> <td>1 of 4</td>" in page


def test_what_was_drawn_from_logarithms_stands_on_a_logarithmic_axis() -> None:
    rows = [row("gcn", number, 0.1, learning_rate=rate) for number, rate in enumerate((0.02, 0.05, 0.1))]
    table = pa.Table.from_pylist(rows, schema=SEARCH_TRIALS)
    drawn = {"train.variants.*.learning_rate": Domain(log_uniform=(0.01, 0.1))}
    pages = [render_search("runs/x", table, SearchConfig(space=space)) for space in (drawn, OTHER)]
    figures = [page.split("<svg")[-1] for page in pages]
    labels = [re.findall(r">(0\.[0-9]+)</text>", figure) for figure in figures]
    assert labels[0][:3] == ["0.02", "0.05", "0.1"]
    assert labels[1][:3] == ["0.02", "0.04", "0.06"]


def test_choices_stand_beside_each_other_in_their_order_and_uniform_draws_on_a_linear_axis() -> None:
    rows = [row("gcn", number, 0.1, dim=dim, alpha=0.01 + 0.3 * number) for number, dim in enumerate((128, 32, 64))]
    table = pa.Table.from_pylist(rows, schema=SEARCH_TRIALS)
    space = {
        "train.variants.*.dim": Domain(choice=(32, 64, 128)),
        "train.variants.gcn.alpha": Domain(uniform=(0.0, 1.0)),
    }
    _, dim, alpha, _ = (
        figure.split("</svg>")[0]
        for figure in render_search("runs/x", table, SearchConfig(space=space)).split('<svg role="img"')[1:]
    )
    assert re.findall(r">(\d+)</text>", dim)[:3] == ["32", "64", "128"]
    assert re.findall(r">(0\.\d+)</text>", alpha)[:3] == ["0.1", "0.2", "0.3"]


def test_a_drawn_section_is_shown_as_an_option_and_not_as_code() -> None:
    page = " ".join(render_search("runs/x", TABLE, SearchConfig()).replace("<wbr>", "").split())
    assert "l2=0.01, sampler=dns" in page
    rows = [row("gcn", 1, 0.2, sampler={"name": "dns", "candidates": 16}, item_text=True)]
    page = render_search("runs/x", pa.Table.from_pylist(rows, schema=SEARCH_TRIALS), SearchConfig()).replace(
        "<wbr>", ""
    )
    assert "sampler=dns(candidates=16), item_text=yes" in page
    assert "&#34;name" not in page
    assert "dns(candidates=16)</text>" in page


def test_failed_trials_are_counted_and_shown_with_their_reason() -> None:
    page = " ".join(render_search("runs/x", TABLE, SearchConfig()).split())
    assert "6 trials of 2 variants" in page
    assert "3 trials failed; the reasons are below" in page
    assert "1 of 4" in page
    assert "2 of 2" in page
    assert "no trial finished" in page
    assert page.count("out of memory") == 3
    assert "+20.0%" in page


def test_one_figure_per_option_beside_the_best_so_far() -> None:
    page = render_search("runs/x", TABLE, SearchConfig())
    labels = [part.split('"', 1)[0] for part in page.split('aria-label="')[1:]]
    assert labels == [
        "Best validation NDCG@20 so far by number of trials",
        "Validation NDCG@20 by l2",
        "Validation NDCG@20 by sampler",
        "Options and validation NDCG@20 of the trials of gcn",
    ]


def test_reasons_of_failures_show_no_control_characters() -> None:
    lost = {**ROWS[1], "error": "\x1b[31mout of memory\x1b[0m"}
    page = render_search("runs/x", pa.Table.from_pylist([ROWS[0], lost], schema=SEARCH_TRIALS), SearchConfig())
    assert "\x1b" not in page
    assert "out of memory" in page


def test_text_is_escaped() -> None:
    assert ATTACK not in render_search(ATTACK, TABLE, SearchConfig())


def test_the_budget_and_what_each_variant_used_of_it_are_shown() -> None:
    rows = [{**ROWS[0]}, {**ROWS[2], "status": "cut", "epochs": 3}]
    search = SearchConfig(trials=20, epoch_budget=12, algorithm="tpe", startup=4)
    page = " ".join(render_search("runs/x", pa.Table.from_pylist(rows, schema=SEARCH_TRIALS), search).split())
    assert "The budget was 20 trials, which together train 12 epochs at most." in page
    assert "trials before number 4 were drawn at random, the others proposed by Optuna's TPE" in page
    assert "1 trial ended early because the variant had used up its epochs" in page
    assert "<td>2</td><td>11<small>of 12</small></td>" in page


def test_options_are_weighed_from_ten_trials_on_and_drawn_as_lines() -> None:
    space = {"train.variants.*.l2": Domain(log_uniform=(1e-3, 1)), "train.variants.gcn.dim": Domain(integers=(1, 64))}
    rows = [row("gcn", trial, 0.01 * trial, l2=10 ** (-trial / 4), dim=1 + trial % 3) for trial in range(12)]
    table = pa.Table.from_pylist(rows, schema=SEARCH_TRIALS)
    page = render_search("runs/x", table, SearchConfig(space=space))
    shares = re.findall(r"<li><span>(.*?)</span><span>(\d+)%</span>", page)
    assert [name for name, _ in shares] == ["l2", "dim"]
    assert sum(int(share) for _, share in shares) in (99, 100, 101)
    assert "from the best 5 of 12 trials" in page
    few = render_search("runs/x", table.slice(0, 9), SearchConfig(space=space))
    assert '<ul class="shares">' not in few
    assert "Options and validation NDCG@20 of the trials of gcn" in few

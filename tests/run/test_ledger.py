"""The state of a study: which fits are asked for, what is chosen, and what is said on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.run.ledger import Ledger
from hnlm_ray.run.store import RunStore
from hnlm_ray.run.study import StudyFit, planned_trials
from tests.run.test_study import VARIANTS, configured

FIGURES = {"epochs": 4, "best_epoch": 2, "seconds": 3.0, "cpu_seconds": 4.0, "parameters": 10}
TEST = {"ndcg": 0.1, "recall": 0.2, "coverage": 0.5, "popularity": 7.0}


def ledger(folder: Path, **study: Any) -> Ledger:
    config = configured(folder, {name: VARIANTS[name] for name in ("ours", "plain", "most_popular")}, **study)
    return Ledger(planned_trials(config, RunStore(config.run)))


def figures(valid: float) -> dict[str, Any]:
    return {**FIGURES, **TEST, "valid_ndcg": valid}


def named(fits: list[StudyFit]) -> list[tuple[str, int, int]]:
    return [(fit.trial.variant, fit.trial.number, fit.seed) for fit in fits]


def test_the_best_trial_on_validation_gets_the_seeds_that_it_lacks(tmp_path: Path) -> None:
    book = ledger(tmp_path, seeds=[0, 1, 2])
    waiting = book.begin()
    screening = [(name, number, 0) for number in range(3) for name in ("ours", "plain")]
    assert named(waiting) == [*screening, ("most_popular", 0, 0)]
    assert (book.done, book.total) == (0, 7 + 2 * 2)
    ours = [fit for fit in waiting if fit.trial.variant == "ours"]
    assert [book.end(fit, figures(valid)) for fit, valid in zip(ours[:2], (0.1, 0.3), strict=True)] == [([], "")] * 2
    new, line = book.end(ours[2], figures(0.2))
    assert named(new) == [("ours", 1, 1), ("ours", 1, 2)]
    assert line == "ours: trial 2 of 3 is best, validation NDCG@20 0.3000"
    assert [book.end(fit, figures(0.3)) for fit in new] == [([], "")] * 2
    assert (book.done, book.total) == (5, 11)


def test_the_choice_does_not_look_at_the_test_split_and_its_figures_are_shown_for_the_chosen_trial_alone(
    tmp_path: Path,
) -> None:
    book = ledger(tmp_path, seeds=[0])
    waiting = book.begin()
    for fit in waiting:
        book.end(fit, {**figures(0.1 * fit.trial.number), "ndcg": 1.0 - fit.trial.number / 10})
    rows = book.table().to_pylist()
    assert [row["trial"] for row in rows if row["chosen"]] == [2, 2, 0]
    assert all((row["ndcg"] is not None) == row["chosen"] for row in rows)
    assert all(row["valid_ndcg"] is not None for row in rows)
    assert book.best == "ours"


def test_a_failed_trial_is_a_row_and_the_others_are_chosen_from(tmp_path: Path) -> None:
    book = ledger(tmp_path, seeds=[0])
    for fit in book.begin():
        is_lost = fit.trial.variant == "plain" or (fit.trial.variant, fit.trial.number) == ("ours", 1)
        book.end(fit, "out of memory" if is_lost else figures(0.1 + fit.trial.number))
    assert book.chosen["ours"].trial.number == 2
    assert "plain" not in book.chosen
    assert (book.failed, book.reasons()) == (4, ["plain: out of memory", "ours: out of memory"])
    assert (book.done, book.total) == (7, 7)  # nothing is to come of a variant whose trials all failed
    status = {(row["variant"], row["trial"]): row["status"] for row in book.table().to_pylist()}
    assert status["ours", 1] == status["plain", 0] == "failed"
    assert status["ours", 2] == "ok"
    assert str(book.look()).startswith("7 of 7 fits done, 4 failed, best valid NDCG@20")


def test_a_variant_that_lost_a_seed_is_not_judged(tmp_path: Path) -> None:
    book = ledger(tmp_path, trials=1)
    waiting = book.begin()
    assert named(waiting) == [(name, 0, seed) for name in ("ours", "plain") for seed in (0, 1)] + [
        ("most_popular", 0, 0)
    ]
    for fit in waiting:
        is_lost = (fit.trial.variant, fit.seed) == ("ours", 1)
        book.end(fit, "lost" if is_lost else figures(0.9 if fit.trial.variant == "ours" else 0.2))
    assert book.best == "plain"


def test_what_is_on_disk_is_not_asked_for_again(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    waiting = first.begin()
    for fit in waiting[:4]:  # both trials 0 and 1
        fit.artifact.create()
        fit.artifact.commit({"seconds": 1.0, "rows": {}, "counts": figures(0.5)})
    again = ledger(tmp_path)
    assert named(again.begin()) == named(waiting[4:])
    assert again.done == 4


def test_the_line_of_progress_estimates_by_what_each_variant_took(tmp_path: Path) -> None:
    book = ledger(tmp_path, trials=1)
    book.jobs = 2
    waiting = {(fit.trial.variant, fit.seed): fit for fit in book.begin()}
    assert str(book.look()) == "0 of 5 fits done"
    book.end(waiting["ours", 0], figures(0.25))
    book.end(waiting["plain", 0], {**figures(0.2), "cpu_seconds": 10.0})
    # one more of `ours` (4 s), one of `plain` (10 s), and one of neither (7 s on average), two at a time
    found = book.look()
    assert str(found) == "2 of 5 fits done, about 10 s left, best valid NDCG@20 so far 0.2500 (ours)"
    assert (found.done, found.total, found.unit) == (2, 5, "fits")
    assert found.seconds_left == pytest.approx((4 + 10 + 7) / 2)
    assert found.rate == pytest.approx(3 / 10.5)
    assert found.note == "best valid NDCG@20 so far 0.2500 (ours)"


def test_the_best_on_validation_is_unknown_before_anything_is_judged(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    book.begin()
    assert book.best is None
    assert book.table().num_rows == book.user_metrics().num_rows == 0
    with pytest.raises(KeyError):
        book.chosen["ours"]

"""The state of a study: what its fits gave, which trial of each variant is chosen, and what remains to be done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from hnlm_ray.run.progress import WorkDone
from hnlm_ray.run.study import StudyFit, StudyTrial
from hnlm_ray.tables import STUDY_FITS, USER_METRICS

__all__ = ["Ledger"]

_OF_FIT = ("valid_ndcg", "epochs", "best_epoch", "seconds", "cpu_seconds", "parameters")
_OF_TEST = ("ndcg", "recall", "coverage", "popularity")
"""Columns of the table ``study_fits`` that the fit of a trial gives, and those that its evaluation gives."""


class Ledger:
    """Keeps account of the fits of a study.

    Args:
        trials: of every variant, in the order in which they are begun.

    Attributes:
        trials: of each variant.
        chosen: the trial of each variant that is judged, as soon as it is known.
        jobs: fits at a time, by which the time that is left is estimated.
    """

    def __init__(self, trials: Sequence[StudyTrial]) -> None:
        self.trials: dict[str, list[StudyTrial]] = {}
        for one in trials:
            self.trials.setdefault(one.trial.variant, []).append(one)
        self.chosen: dict[str, StudyTrial] = {}
        self.jobs = 1
        self._order = list(trials)
        self._figures: dict[str, Mapping[str, Any]] = {}
        self._errors: dict[str, str] = {}
        self._asked: set[str] = set()

    def begin(self) -> list[StudyFit]:
        """Read what is there already; the fits to begin with, the first trial of every variant before the second."""
        for fit in {_key(fit): fit for one in self._order for fit in (*one.screening, *one.final)}.values():
            if fit.artifact.is_complete:
                self._figures[_key(fit)] = fit.artifact.manifest().counts
        waiting = [fit for one in self._order if self._is_compared(one) for fit in self._ask(one.screening)]
        return waiting + [fit for variant in self.trials for fit in self._decide(variant)]

    def end(self, fit: StudyFit, result: Mapping[str, Any] | str) -> tuple[list[StudyFit], str]:
        """Enter what a fit gave.

        Args:
            fit: one that was asked for.
            result: its figures, or why it failed.

        Returns:
            The fits that it makes necessary, and a line about the trial that was chosen; empty if none was.
        """
        if isinstance(result, str):
            self._errors[_key(fit)] = result
        else:
            self._figures[_key(fit)] = result
        variant = fit.trial.variant
        if variant in self.chosen:
            return [], ""
        new = self._decide(variant)
        if variant not in self.chosen:
            return new, ""
        best, among = self.chosen[variant], len(self.trials[variant])
        number = self.trials[variant].index(best) + 1
        return (
            new,
            f"{variant}: trial {number} of {among} is best, validation NDCG@20 {self._mean_valid(best.screening):.4f}",
        )

    @property
    def total(self) -> int:
        """Fits of the whole study, as far as is known before every choice is made."""
        return len(self._needed()) + sum(self._to_come().values())

    @property
    def done(self) -> int:
        """Fits that have ended."""
        return sum(self._is_known(key) for key in self._needed())

    @property
    def failed(self) -> int:
        """Fits that failed."""
        return len(self._errors)

    @property
    def best(self) -> str | None:
        """The judged variant that is best on validation; None where none is judged."""
        valid = {name: self._mean_valid(one.final) or 0.0 for name, one in self._judged().items()}
        return max(valid, key=lambda name: valid[name], default=None)

    def reasons(self) -> list[str]:
        """Why fits failed, each reason of a variant once."""
        fits = self._needed()
        return list(dict.fromkeys(f"{fits[key].trial.variant}: {reason}" for key, reason in self._errors.items()))

    def look(self, parts: Sequence[WorkDone] = ()) -> WorkDone:
        """What is done, the time that is left, and the best so far.

        Args:
            parts: how far the fits are that run.
        """
        done, total = self.done, self.total
        line, rate, left, note = f"{done:,} of {total:,} fits done", None, None, ""
        if self._errors:
            line += f", {len(self._errors):,} failed"
        if self._figures and done < total:
            left = self._seconds_left()
            rate = (total - done) / left if left > 0 else None
            line += f", about {left:.0f} s left"
        known = {key: fit for key, fit in self._needed().items() if key in self._figures}
        best = max(known, key=lambda key: self._figures[key]["valid_ndcg"], default=None)
        if best is not None:
            value, name = self._figures[best]["valid_ndcg"], known[best].trial.variant
            note = f"best valid NDCG@20 so far {value:.4f} ({name})"
            line += f", {note}"
        return WorkDone("study", done, total, "fits", line, rate, left, note, tuple(parts))

    def table(self) -> pa.Table:
        """The table ``study_fits``, by variant, trial and seed; figures of the test split for chosen trials alone."""
        rows = []
        for variant, trials in self.trials.items():
            for one in trials:
                is_chosen = one is self.chosen.get(variant)
                fits = {_key(fit): fit for fit in (*one.screening, *(one.final if is_chosen else ()))}
                rows += [self._row(fit, is_chosen=is_chosen) for key, fit in fits.items() if self._is_known(key)]
        return pa.Table.from_pylist(rows, schema=STUDY_FITS)

    def user_metrics(self) -> pa.Table:
        """The table ``user_metrics`` of the judged fits."""
        fits = [fit for one in self._judged().values() for fit in one.final]
        return pa.concat_tables([USER_METRICS.empty_table(), *(fit.artifact.read("user_metrics") for fit in fits)])

    def histories(self) -> dict[str, list[pa.Table]]:
        """The learning curves of the judged fits by variant, none for a variant that is computed."""
        judged = {name: one for name, one in self._judged().items() if one.trial.options.is_trained}
        return {name: [fit.artifact.read("history") for fit in one.final] for name, one in judged.items()}

    def _row(self, fit: StudyFit, *, is_chosen: bool) -> dict[str, Any]:
        trial, figures = fit.trial, self._figures.get(_key(fit), {})
        error = self._errors.get(_key(fit), "")
        columns = (*_OF_FIT, *(_OF_TEST if is_chosen else ()))
        return {
            "variant": trial.variant,
            "trial": trial.number,
            "drawn": json.dumps(trial.parameters),
            "options": trial.options.model_dump_json(),
            "seed": fit.seed,
            "status": "failed" if error else "ok",
            "error": error,
            "chosen": is_chosen,
            **{name: figures.get(name) for name in columns},
        }

    def _judged(self) -> dict[str, StudyTrial]:
        """The chosen trials of which every final fit is there."""
        return {
            name: self.chosen[name]
            for name in self.trials
            if name in self.chosen and all(_key(fit) in self._figures for fit in self.chosen[name].final)
        }

    def _is_compared(self, one: StudyTrial) -> bool:
        """Whether there are other trials of its variant: one alone is chosen as it is."""
        return len(self.trials[one.trial.variant]) > 1

    def _is_known(self, key: str) -> bool:
        return key in self._figures or key in self._errors

    def _decide(self, variant: str) -> list[StudyFit]:
        """Choose a trial if all are there; the fits of it that are to be made."""
        trials = self.trials[variant]
        if len(trials) == 1:
            self.chosen[variant] = trials[0]
        elif all(self._is_known(_key(fit)) for one in trials for fit in one.screening):
            valid = [self._mean_valid(one.screening) for one in trials]
            able = [place for place, value in enumerate(valid) if value is not None]
            if able:
                self.chosen[variant] = trials[max(able, key=lambda place: valid[place] or 0.0)]
        return self._ask(self.chosen[variant].final) if variant in self.chosen else []

    def _mean_valid(self, fits: Sequence[StudyFit]) -> float | None:
        """Validation NDCG@20, mean over some fits; None if one of them failed."""
        known = [self._figures[_key(fit)]["valid_ndcg"] for fit in fits if _key(fit) in self._figures]
        return sum(known) / len(known) if len(known) == len(fits) else None

    def _ask(self, fits: Sequence[StudyFit]) -> list[StudyFit]:
        """Those that nobody knows and nobody has asked for; they are asked for now."""
        new = {_key(fit): fit for fit in fits if not self._is_known(_key(fit)) and _key(fit) not in self._asked}
        self._asked |= new.keys()
        return list(new.values())

    def _needed(self) -> dict[str, StudyFit]:
        """The fits that the study needs as far as is known, by key."""
        screening = [fit for one in self._order if self._is_compared(one) for fit in one.screening]
        final = [fit for one in list(self.chosen.values()) for fit in one.final]
        return {_key(fit): fit for fit in (*screening, *final)}

    def _to_come(self) -> dict[str, int]:
        """Fits that a variant will need when its trial is chosen."""
        open_ones = {name: trials[0] for name, trials in self.trials.items() if name not in self.chosen}
        screened = {
            name: all(self._is_known(_key(fit)) for other in self.trials[name] for fit in other.screening)
            for name in open_ones
        }
        return {
            name: len({_key(fit) for fit in one.final} - {_key(fit) for fit in one.screening})
            for name, one in open_ones.items()
            if not screened[name]  # otherwise every trial failed
        }

    def _seconds_left(self) -> float:
        """What the fits that are left take, each as long as the others of its variant on average."""
        needed = self._needed()
        spent: dict[str, list[float]] = {}
        for key, fit in needed.items():
            if figures := self._figures.get(key):
                spent.setdefault(fit.trial.variant, []).append(max(figures["seconds"], figures["cpu_seconds"]))
        means = {name: sum(seconds) / len(seconds) for name, seconds in spent.items()}
        usual = sum(means.values()) / len(means) if means else 0.0
        left = [fit.trial.variant for key, fit in needed.items() if not self._is_known(key)]
        left += [name for name, count in self._to_come().items() for _ in range(count)]
        return sum(means.get(name, usual) for name in left) / self.jobs


def _key(fit: StudyFit) -> str:
    return fit.artifact.fingerprint

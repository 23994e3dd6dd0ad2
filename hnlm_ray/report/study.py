"""The result of a study: one row per variant, what to say about it in a sentence, and the page."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from hnlm_ray.config.search import Domain
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.report.comparison import LEVEL, Difference, differences
from hnlm_ray.report.figures import LearningCurves
from hnlm_ray.report.options import differing_options, shown_method
from hnlm_ray.report.page import render_page
from hnlm_ray.report.search import described, inside, summarise, trial_figures
from hnlm_ray.tables import SEARCH_TRIALS, STUDY

__all__ = ["StudyPage", "compared_with", "drawn_options", "study_table", "verdict"]

_MEANS = ("valid_ndcg", "ndcg", "recall", "coverage", "popularity", "epochs", "seconds", "cpu_seconds", "parameters")
_SPREADS = ("ndcg", "recall")


def study_table(fits: pa.Table, user_metrics: pa.Table, against: str, seed: int) -> pa.Table:
    """The table ``study``.

    Args:
        fits: table ``study_fits``.
        user_metrics: test metrics of the users of the judged fits.
        against: the variant that all are compared with.
        seed: of the whole run, for the bootstrap.
    """
    rows = fits.to_pylist()
    found = {row.variant: row for row in differences(user_metrics, against, seed) if row.metric == "ndcg"}
    judged = set(user_metrics["variant"].to_pylist())
    names = dict.fromkeys(row["variant"] for row in rows)
    of = {name: [row for row in rows if row["variant"] == name] for name in names}
    table = [_row(own, found.get(name), is_judged=name in judged) for name, own in of.items()]
    return pa.Table.from_pylist(table, schema=STUDY)


def _row(fits: Sequence[Mapping[str, Any]], found: Difference | None, *, is_judged: bool) -> dict[str, Any]:
    failed = {fit["trial"] for fit in fits if fit["error"]}
    row = {
        "variant": fits[0]["variant"],
        "method": shown_method(VariantConfig.model_validate_json(fits[0]["options"])),
        "trials": len({fit["trial"] for fit in fits} - failed),
    }
    if not is_judged:
        return row
    chosen = [fit for fit in fits if fit["chosen"]]
    row |= {name: chosen[0][name] for name in ("trial", "drawn", "options")}
    row["method"] = shown_method(VariantConfig.model_validate_json(row["options"]))
    row |= {"seeds": len(chosen)} | {name: statistics.fmean(fit[name] for fit in chosen) for name in _MEANS}
    if len(chosen) > 1:
        row |= {f"{name}_sd": statistics.stdev(fit[name] for fit in chosen) for name in _SPREADS}
    if found is not None:
        row |= {"difference": found.interval.mean, "low": found.interval.low, "high": found.interval.high}
        row |= {"p": found.unadjusted, "p_holm": found.t_test}
    return row


def compared_with(table: pa.Table) -> str:
    """The variant of the table ``study`` that all others are compared with."""
    rows = table.to_pylist()
    return str(next(row["variant"] for row in rows if row["ndcg"] is not None and row["difference"] is None))


def verdict(table: pa.Table) -> str:
    """One sentence: which variant is best on the test split, and from which the one compared with is told apart.

    Args:
        table: table ``study``.
    """
    against = compared_with(table)
    rows = {row["variant"]: row for row in table.to_pylist() if row["ndcg"] is not None}
    base, others = rows.pop(against), list(rows.values())
    best = max(others, key=lambda row: float(row["ndcg"]))
    shown = f"{base['ndcg']:.4f}"
    if best["ndcg"] > base["ndcg"]:
        is_clear = best["p_holm"] < LEVEL
        claim = "significantly" if is_clear else "not significantly"
        lead = f"{best['variant']} has the highest test NDCG@20, {best['ndcg']:.4f} against {shown} of {against}"
        return f"{lead}, which is {claim} more ({_p(best['p_holm'])})"
    gain = base["ndcg"] / best["ndcg"] - 1.0 if best["ndcg"] else 0.0
    unclear = [row["variant"] for row in others if row["p_holm"] >= LEVEL]
    lead = f"{against} has the highest test NDCG@20, {shown}, {gain:+.1%} over {best['variant']}"
    if not unclear:
        return f"{lead}, and is significantly above every other variant ({_p(best['p_holm'])} against the next)"
    told = len(others) - len(unclear)
    named = ", ".join(unclear) if len(unclear) <= 3 else f"{len(unclear)} others"
    return f"{lead}; it is significantly above {told} of {len(others)} variants, not above {named}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


@dataclass(frozen=True)
class StudyPage:
    """The page about a study.

    Attributes:
        run: name of the run.
        table: table ``study``.
        fits: table ``study_fits``.
        screening_seeds: those that trials are chosen by.
        space: what the trials were drawn from.
        histories: tables ``history`` of the judged fits of each variant that is trained.
    """

    run: str
    table: pa.Table
    fits: pa.Table
    screening_seeds: Sequence[int]
    space: Mapping[str, Domain]
    histories: Mapping[str, Sequence[pa.Table]]

    def render(self) -> str:
        """The page as HTML."""
        every = self.table.to_pylist()
        judged = sorted((row for row in every if row["ndcg"] is not None), key=lambda row: -row["ndcg"])
        results = summarise(self._trials())
        tuned = [one for one in results if len(one.rows) > 1]
        names = [row["variant"] for row in judged if row["variant"] in self.histories]
        curves = [(place, curve) for place, name in enumerate(names) for curve in self.histories[name]]
        return render_page(
            "study.html.j2",
            run=self.run,
            sentence=verdict(self.table),
            against=compared_with(self.table),
            rows=judged,
            missing=[row for row in every if row["ndcg"] is None],
            facts=self._facts(judged),
            scale=_scale(judged),
            drawn={row["variant"]: drawn_options(row) for row in judged},
            tuned=tuned,
            trials=trial_figures(tuned, self.space) if tuned else [],
            curves=LearningCurves(names, curves).figures() if curves else [],
            curve_names=names,
            failed=[row for row in self.fits.to_pylist() if row["error"]],
            options=differing_options({row["variant"]: json.loads(row["options"]) for row in judged}),
            level=LEVEL,
        )

    def _facts(self, judged: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        rows = self.fits.to_pylist()
        trials = {(row["variant"], row["trial"]) for row in rows}
        hours = sum(row["cpu_seconds"] or 0.0 for row in rows) / 3600
        seeds = sorted({row["seeds"] for row in judged})
        return [
            ("variants", f"{len(judged)}"),
            ("trials", f"{len(trials):,}"),
            ("fits", f"{len(rows):,}"),
            ("seeds", " to ".join(str(one) for one in dict.fromkeys((seeds[0], seeds[-1])))),
            ("processor time", f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:,.1f} min"),
        ]

    def _trials(self) -> pa.Table:
        """The trials in the form of the table ``trials`` of a search: means over the screening seeds."""
        fits: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in self.fits.to_pylist():
            if row["seed"] in self.screening_seeds:
                fits.setdefault((row["variant"], row["trial"]), []).append(row)
        rows = []
        for (variant, trial), own in fits.items():
            error = next((row["error"] for row in own if row["error"]), "")
            row = {"variant": variant, "trial": trial, "parameters": own[0]["drawn"], "error": error}
            if not error:
                row |= {name: statistics.fmean(one[name] for one in own) for name in ("valid_ndcg", "seconds")}
                row |= {name: max(one[name] for one in own) for name in ("epochs", "best_epoch")}
            rows.append({**row, "status": "failed" if error else "ok"})
        return pa.Table.from_pylist(rows, schema=SEARCH_TRIALS)


def drawn_options(row: Mapping[str, Any]) -> str:
    """The searched options of the chosen trial as text."""
    return described(inside({"parameters": row["drawn"]}))


def _scale(judged: Sequence[Mapping[str, Any]]) -> float:
    """Percent of half the width of the forest plot per unit of NDCG."""
    reach = max((max(abs(row["low"]), abs(row["high"])) for row in judged if row["low"] is not None), default=0.0)
    return 48.0 / reach if reach else 0.0

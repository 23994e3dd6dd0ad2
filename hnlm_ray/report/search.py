"""The result of a search: the best trial of each variant, and the page about all trials."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from hnlm_ray.config.search import Domain, SearchConfig, domain_of
from hnlm_ray.report.importance import LEAST_TRIALS, Importance, importance
from hnlm_ray.report.options import shown_option
from hnlm_ray.report.page import render_page
from hnlm_ray.report.parallel import Axis, numbers_axis, parallel_coordinates, words_axis
from hnlm_ray.report.plots import Curve, Dots, learning_curves, scatter
from hnlm_ray.run.proposals import has_optuna

__all__ = ["VariantDetail", "VariantSearch", "described", "inside", "render_search", "summarise", "trial_figures"]

_METRIC = "validation NDCG@20"


@dataclass(frozen=True)
class VariantSearch:
    """The trials of one variant.

    Attributes:
        variant: its name.
        rows: its rows of the table ``trials``, by number.
    """

    variant: str
    rows: Sequence[Mapping[str, Any]]

    @property
    def finished(self) -> list[Mapping[str, Any]]:
        """The trials that did not fail: those that ran to their own end, and those that were stopped early."""
        return [row for row in self.rows if row["status"] != "failed"]

    @property
    def stopped(self) -> list[Mapping[str, Any]]:
        """The trials that were stopped early; the best of their epochs counts."""
        return [row for row in self.rows if row["status"] == "stopped"]

    @property
    def cut(self) -> list[Mapping[str, Any]]:
        """The trials that were cut off because the variant's epochs were used up; the best of their epochs counts."""
        return [row for row in self.rows if row["status"] == "cut"]

    @property
    def epochs(self) -> int:
        """Epochs of all trials that did not fail."""
        return int(sum(row["epochs"] for row in self.finished))

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The trials that failed."""
        return [row for row in self.rows if row["status"] == "failed"]

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The trial with the highest validation NDCG@20; the first of several; None if all failed."""
        return max(self.finished, key=lambda row: row["valid_ndcg"], default=None)

    @property
    def configured(self) -> float | None:
        """Validation NDCG@20 of the variant as configured (trial 0); None if that trial failed."""
        return next((row["valid_ndcg"] for row in self.finished if row["trial"] == 0), None)

    @property
    def gain(self) -> float | None:
        """Relative gain of the best trial over the variant as configured; None where one of them failed."""
        if self.best is None or not self.configured:
            return None
        return float(self.best["valid_ndcg"]) / self.configured - 1.0

    @property
    def chosen(self) -> dict[str, Any]:
        """Drawn options of the best trial, by path inside the variant; empty if it is the variant as configured."""
        return {} if self.best is None or self.best["trial"] == 0 else inside(self.best)

    @property
    def seconds(self) -> float:
        """Training time of all trials that did not fail."""
        return float(sum(row["seconds"] for row in self.finished))


def summarise(trials: pa.Table) -> list[VariantSearch]:
    """The trials of each variant, in the order of the table ``trials``."""
    rows = trials.to_pylist()
    names = dict.fromkeys(row["variant"] for row in rows)
    return [VariantSearch(name, [row for row in rows if row["variant"] == name]) for name in names]


@dataclass(frozen=True)
class VariantDetail:
    """What the page shows of the options of one variant.

    Attributes:
        variant: its name.
        lines: parallel coordinates of its trials as ``<svg>``.
        importance: how much each option mattered; None where that cannot be said.
    """

    variant: str
    lines: str
    importance: Importance | None


def render_search(run: str, trials: pa.Table, search: SearchConfig) -> str:
    """The page about a search as HTML.

    Args:
        run: name of the run.
        trials: table ``trials``.
        search: the section of the configuration; options that its space draws from logarithms stand on a logarithmic
            axis, choices beside each other.
    """
    results = summarise(trials)
    counted = {name: sum(len(getattr(result, name)) for result in results) for name in ("stopped", "cut", "failed")}
    values = {
        "run": run,
        "results": results,
        "total": len(trials),
        "search": search,
        "figures": trial_figures(results, search.space),
        "details": _details(results, search.space),
        "least": LEAST_TRIALS,
        "has_optuna": has_optuna(),
        "options": _options,
        "short": _without_variant,
    }
    return render_page("search.html.j2", **values, **counted)


def _details(results: Sequence[VariantSearch], space: Mapping[str, Domain]) -> list[VariantDetail]:
    """The variants with at least two options and two trials that did not fail."""
    found = []
    for result in results:
        trials = [(json.loads(row["parameters"]), float(row["valid_ndcg"])) for row in result.finished]
        paths = list(dict.fromkeys(path for values, _ in trials for path in values))
        if len(trials) > 1 and len(paths) > 1:
            domains = {path: domain for path in paths if (domain := domain_of(space, path)) is not None}
            lines = _lines(result, [values for values, _ in trials], paths, domains)
            found.append(VariantDetail(result.variant, lines, importance(domains, trials)))
    return found


def _lines(
    result: VariantSearch, options: Sequence[Mapping[str, Any]], paths: Sequence[str], domains: Mapping[str, Domain]
) -> str:
    """Parallel coordinates of the trials of a variant, the best fifth in colour."""
    figures = [float(row["valid_ndcg"]) for row in result.finished]
    axes = [_axis(path, [values.get(path) for values in options], domains.get(path)) for path in paths]
    order = sorted(range(len(figures)), key=lambda trial: -figures[trial])
    title = f"Options and {_METRIC} of the trials of {result.variant}"
    return parallel_coordinates([*axes, numbers_axis(_METRIC, figures)], order[: -(-len(order) // 5)], title)


def _axis(path: str, values: Sequence[Any], domain: Domain | None) -> Axis:
    name, is_chosen = _without_variant(path), domain is not None and domain.choice is not None
    places = [None if value is None else _place(value, is_chosen) for value in values]
    if any(isinstance(place, str) for place in places):
        choices = domain.choice if domain is not None and domain.choice is not None else ()
        shown = [None if place is None else str(place) for place in places]
        return words_axis(name, shown, [shown_option(value) for value in choices])
    numbers = [place if not isinstance(place, str) else None for place in places]
    return numbers_axis(name, numbers, is_logarithmic=domain is not None and domain.log_uniform is not None)


def trial_figures(results: Sequence[VariantSearch], space: Mapping[str, Domain]) -> list[str]:
    """Figures as ``<svg>`` elements: the best so far by number of trials, and every trial by each searched option.

    Args:
        results: from :func:`summarise`.
        space: what was searched.
    """
    domains: dict[str, list[Domain]] = {}
    for key, domain in space.items():
        domains.setdefault(_without_variant(key), []).append(domain)
    return [_progress(results), *(_against(path, results, domains.get(path, [])) for path in _paths(results))]


def _without_variant(path: str) -> str:
    """The path inside the variant; one outside the variants as it is."""
    prefix = "train.variants."
    return path.removeprefix(prefix).partition(".")[2] if path.startswith(prefix) else path


def inside(row: Mapping[str, Any]) -> dict[str, Any]:
    """The searched options of a trial by path inside the variant."""
    return {_without_variant(path): value for path, value in json.loads(row["parameters"]).items()}


def _options(row: Mapping[str, Any]) -> str:
    """The searched options of a trial as text."""
    return described(inside(row))


def described(drawn: Mapping[str, Any]) -> str:
    """Searched options as text, by path."""
    return ", ".join(f"{path}={shown_option(value)}" for path, value in drawn.items())


def _paths(results: Sequence[VariantSearch]) -> list[str]:
    return list(dict.fromkeys(path for result in results for row in result.rows for path in inside(row)))


def _progress(results: Sequence[VariantSearch]) -> str:
    """A figure of the best validation NDCG@20 so far by number of trials."""
    curves = []
    for series, result in enumerate(results):
        values = [row["valid_ndcg"] for row in result.finished]
        numbers = [row["trial"] + 1 for row in result.finished]
        curves.append(Curve(series, numbers, list(itertools.accumulate(values, max))))
    return learning_curves(curves, "trials", f"best {_METRIC}", "Best validation NDCG@20 so far by number of trials")


def _against(path: str, results: Sequence[VariantSearch], domains: Sequence[Domain]) -> str:
    """A figure of every trial that did not fail by the value of one option."""
    is_chosen = any(domain.choice is not None for domain in domains)
    dots = []
    for series, result in enumerate(results):
        pairs = [(inside(row), row["valid_ndcg"]) for row in result.finished]
        known = [(drawn[path], value) for drawn, value in pairs if path in drawn]
        dots.append(Dots(series, [_place(x, is_chosen) for x, _ in known], [y for _, y in known]))
    is_logarithmic = any(domain.log_uniform is not None for domain in domains) if domains else None
    words = [shown_option(value) for domain in domains for value in domain.choice or ()]
    title = f"Validation NDCG@20 by {path}"
    return scatter(dots, path, _METRIC, title, is_logarithmic=is_logarithmic, words=words)


def _place(value: Any, is_chosen: bool) -> float | str:
    """Where a value stands: a number at itself, unless it is one of some choices."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and not is_chosen else shown_option(value)

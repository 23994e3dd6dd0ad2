"""What the commands print: lines of progress on stderr, tables and sentences on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hnlm_ray.cli.log import log
from hnlm_ray.cli.terminal import plain_console
from hnlm_ray.cli.words import number, rows_in_words
from hnlm_ray.config.tree import SELECTION_CUTOFF, Config
from hnlm_ray.errors import StoreError

if TYPE_CHECKING:
    from hnlm_ray.language.estimate import Estimate
    from hnlm_ray.report.run_comparison import RunComparison
    from hnlm_ray.run.difference import OptionDifference, StageDifference
    from hnlm_ray.run.manifest import Manifest
    from hnlm_ray.run.plan import PlannedStage, Run
    from hnlm_ray.run.store import Artifact
    from hnlm_ray.serving.bundle.shelf import Shelf
    from hnlm_ray.serving.recommend.results import Recommendation

__all__ = [
    "Mark",
    "errors",
    "new_table",
    "output",
    "print_bundles",
    "print_comparison",
    "print_difference",
    "print_estimate",
    "print_marked",
    "print_recommendation",
    "print_results",
    "print_search",
    "print_status",
    "print_study",
    "remark",
]


output = plain_console(sys.stdout, stderr=False)
"""Results."""

errors = plain_console(sys.stderr, stderr=True)
"""Progress and problems, so that results can be piped."""

Mark = Literal["ok", "warn", "fail"]
_MARKS: dict[Mark, tuple[str, str]] = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def print_marked(mark: Mark, text: str, *, subject: str = "", to: Console = output) -> None:
    """Print one line behind a coloured mark, ✓, ! or ✗, and perhaps a bold subject."""
    to.print(Text.assemble(_MARKS[mark], " ", (f"{subject} " if subject else "", "bold"), text))


def remark(mark: Mark, text: str) -> None:
    """Say what is to be known besides the results: a marked line on standard error, or an event there."""
    if log.is_json:
        levels: dict[Mark, Literal["info", "warning", "error"]] = {"ok": "info", "warn": "warning", "fail": "error"}
        log.event("message", levels[mark], message=text)
    else:
        print_marked(mark, text, to=errors)


def print_status(run: Run, title: str) -> None:
    """Print the stages of a run: state, rows, rejected rows, tokens, seconds, when they were committed.

    Then what each rule changed in the data, and the warnings.
    """
    table = new_table(title, "stage", "state", ">rows", ">rejects", ">tokens", ">seconds", "committed")
    notes: list[tuple[Mark, str, str]] = []
    counts: dict[str, float] = {}
    for stage in run.stages:
        try:
            manifest = stage.artifact.manifest() if stage.artifact.is_complete else None
        except StoreError as error:
            table.add_row(stage.name, Text("damaged", "red"))
            notes.append(("fail", stage.name, str(error)))
            continue
        table.add_row(*_status_row(stage, manifest))
        if manifest is not None:
            counts |= manifest.counts if stage.name == "prepare" else {}
            notes += [("warn", stage.name, warning) for warning in manifest.warnings]
    output.print(table)
    if counts:
        data = new_table("What prepare counted", "count", ">rows")
        for name, count in counts.items():
            if count:
                data.add_row(name.replace("_", " "), number(count))
        output.print(data)
    for mark, name, note in notes:
        print_marked(mark, note, subject=name)


def print_results(run: Run, config: Config) -> None:
    """Print test NDCG and Recall of every variant with the one that validation chose, the report, and what is next."""
    from hnlm_ray.report.comparison import best_on_validation, compare
    from hnlm_ray.run.places import shown

    artifacts = run.artifacts()
    results = compare(artifacts["evaluate"].read("metrics"), None, SELECTION_CUTOFF)
    chosen, k = best_on_validation(results), SELECTION_CUTOFF
    columns = ("variant", f">validation NDCG@{k}", f">test NDCG@{k}", f">test Recall@{k}", "")
    table = new_table("On held-out interactions", *columns)
    for one in results:
        figures = (one.valid_ndcg, one.cells["ndcg", k].mean, one.cells["recall", k].mean)
        mark = Text("chosen", "green") if one is chosen else "" if one.seeds else Text("for reference", "dim")
        table.add_row(one.name, *(f"{figure:.4f}" for figure in figures), mark)
    output.print(table)
    served = next((one for one in results if one.name == config.serve.variant), None)
    if served is not None and chosen is not None and served is not chosen:
        compared = f"NDCG@{k} {chosen.valid_ndcg:.4f} against {served.valid_ndcg:.4f}"
        print_marked("warn", f"serve.variant is {served.name}, and {chosen.name} is better on validation ({compared})")
    output.print(f"report: {artifacts['report'].path_of('report.html')}")
    output.print(f"next: `hnlm serve {shown(config.run)}`, `hnlm recommend USER_ID {shown(config.run)}`")


def print_estimate(estimate: Estimate, price: float | None = None) -> None:
    """Print prompts, tokens and engine-hours of each stage, then what the figures rest on.

    Args:
        estimate: of all stages.
        price: of an hour of one engine, to print what each stage costs.
    """
    columns = ("stage", ">prompts", ">input tokens", ">output tokens", ">at most", ">engine-hours")
    table = new_table("Before anything is spent", *columns, *([">cost"] if price is not None else []))
    hours = [stage.engine_hours for stage in estimate.stages]
    for stage in estimate.stages:
        counts = (stage.prompts, stage.input_tokens, stage.output_tokens, stage.most_output_tokens)
        table.add_row(stage.stage, *(f"{count:,}" for count in counts), *_spent(stage.engine_hours, price))
    table.add_section()
    known = [one for one in hours if one is not None]
    total = sum(known) if len(known) == len(hours) else None
    table.add_row("all", "", "", "", "", *_spent(total, price), style="bold")
    output.print(table)
    for note in estimate.notes:
        output.print(note, style="dim", markup=False)


def _spent(hours: float | None, price: float | None) -> list[str]:
    """Hours and, where there is a price, the cost."""
    shown = ["not known" if hours is None else f"{hours:,.2f}"]
    return shown if price is None else [*shown, "not known" if hours is None else f"{hours * price:,.2f}"]


def print_search(artifact: Artifact) -> None:
    """Print validation NDCG of each variant as configured and at its best, then where the results are."""
    from hnlm_ray.report.search import described, summarise

    columns = ("variant", ">as configured", ">best", ">trials", ">epochs", ">failed trials", "with")
    table = new_table("Best on validation NDCG@20", *columns)
    for result in summarise(artifact.read("trials")):
        chosen = described(result.chosen)
        configured = "" if result.configured is None else f"{result.configured:.4f}"
        best = "" if result.best is None else f"{result.best['valid_ndcg']:.4f}"
        failed = f"{len(result.failed)} of {len(result.rows)}"
        used = (str(len(result.rows)), f"{result.epochs:,}")
        table.add_row(result.variant, configured, best, *used, failed, chosen or "what was configured")
    output.print(table)
    for reason in sorted({row["error"] for row in artifact.read("trials").to_pylist() if row["error"]}):
        print_marked("warn", reason)
    for name in ("search.html", "best.yaml"):
        output.print(artifact.path_of(name))


def print_study(artifact: Artifact) -> None:
    """Print the sentence of a study, test NDCG of each variant beside what it is compared with, and the files."""
    from hnlm_ray.report.study import compared_with, drawn_options, verdict

    study = artifact.read("study")
    against = compared_with(study)
    columns = (
        "variant",
        ">NDCG@20",
        ">Recall@20",
        ">difference",
        ">95 % interval",
        ">p, Holm",
        ">coverage",
        ">trials",
        "best",
    )
    table = new_table(f"Test split, differences of NDCG@20 to {against}", *columns)
    for row in sorted(study.to_pylist(), key=lambda row: -(row["ndcg"] or -1.0)):
        if row["ndcg"] is None:
            table.add_row(row["variant"], Text("failed", "red"))
            continue
        cells = [f"{row['ndcg']:.4f}", f"{row['recall']:.4f}", "", "", ""]
        if row["difference"] is not None:
            ends = f"{row['low']:+.4f} {row['high']:+.4f}"
            cells[2:] = [f"{row['difference']:+.4f}", ends, f"{row['p_holm']:.3g}"]
        table.add_row(row["variant"], *cells, f"{row['coverage']:.3f}", str(row["trials"]), drawn_options(row))
    output.print(table)
    output.print(f"{verdict(study)}.")
    for name in ("study.html", "study"):
        output.print(artifact.path_of(name))


def print_comparison(comparison: RunComparison) -> None:
    """Print test NDCG@20 of each method, its difference from the baseline, and what to make of it."""
    columns = ("method", ">NDCG@20", ">difference", ">p, t-test", ">p, bootstrap", "reading")
    table = new_table(f"Test NDCG@20 against {comparison.baseline}", *columns)
    for method in comparison.methods:
        cells = [method.name, f"{method.result.cells['ndcg', 20].mean:.4f}"]
        if row := method.differences.get("ndcg"):
            cells += [f"{row.interval.mean:+.4f}", f"{row.t_test:.3g}", f"{row.bootstrap:.3g}", row.verdict]
        table.add_row(*cells)
    output.print(table)


def print_recommendation(recommendation: Recommendation, user_id: str) -> None:
    """Print the recommended items: rank, id, title, score; of an unknown user, that these are popular items."""
    is_popular = recommendation.source == "popular"
    if is_popular:
        print_marked("warn", f"the bundle has no interactions of a user {user_id!r}: these are popular items")
    title = f"{recommendation.source} recommendations (bundle {recommendation.bundle_version})"
    table = new_table(title, ">", "item", "title", ">interactions" if is_popular else ">score")
    for rank, item in enumerate(recommendation.items, start=1):
        table.add_row(str(rank), item.item_id, item.title, f"{item.score:,.0f}" if is_popular else f"{item.score:.3f}")
    output.print(table)


def print_bundles(shelf: Shelf) -> None:
    """Print the bundles of a shelf; a dot marks the current one."""
    columns = ("", "version", "variant", "data", ">users", ">items", ">test ndcg@20")
    table = new_table(f"Bundles of {shelf.shown}", *columns)
    for one in shelf.bundles():
        mark = Text("●" if one.is_current else "", "green")
        if one.info is None:
            table.add_row(mark, one.version, Text(one.problem, "red"))
            continue
        about, ndcg = one.info.about, one.info.about.metrics.get("test ndcg@20")
        figures = (f"{one.info.users:,}", f"{one.info.items:,}", "" if ndcg is None else f"{ndcg:.4f}")
        table.add_row(mark, one.version, about.variant, about.data, *figures)
    output.print(table)


def print_difference(
    options: Sequence[OptionDifference], stages: Sequence[StageDifference], names: tuple[str, str]
) -> None:
    """Print the options that differ and the stages of two runs, with the rows that are not as many in both."""
    table = new_table("Options", "option", *names, "it changes")
    for option in options:
        table.add_row(option.option, option.first, option.second, "results" if option.decides else "where, how fast")
    output.print(table if options else "The options are the same.")
    table = new_table("Stages", "stage", "state", "rows")
    for stage in stages:
        changed = [
            f"{name.replace('_', ' ')} {_or_dash(here)} → {_or_dash(there)}"
            for name, (here, there) in stage.rows.items()
            if here != there
        ]
        colour = {"same": "dim", "changed": "yellow"}.get(stage.state, "cyan")
        table.add_row(stage.stage, Text(stage.state, colour), ", ".join(changed))
    output.print(table)


def _or_dash(rows: int | None) -> str:
    return "-" if rows is None else f"{rows:,}"


def new_table(title: str, *columns: str) -> Table:
    """A table; the cells of a column whose name begins with ``>`` are put to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table


def _status_row(stage: PlannedStage, manifest: Manifest | None) -> tuple[str | Text, ...]:
    if manifest is None:
        return stage.name, Text("interrupted", "yellow") if stage.artifact.exists else Text("pending", "dim")
    counts = manifest.counts
    rejects = sum(int(counts.get(key, 0)) for key in ("invalid", "truncated", "failed"))
    tokens = int(counts.get("prompt_tokens", 0) + counts.get("output_tokens", 0))
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.committed))
    return (
        stage.name, Text("complete", "green"), rows_in_words(manifest), f"{rejects:,}" if "ok" in counts else "",
        f"{tokens:,}" if tokens else "", f"{manifest.seconds:.1f}", when,
    )  # fmt: skip

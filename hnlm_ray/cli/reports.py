"""Commands about finished runs: ``report`` and ``compare``, which write a page, and ``diff``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hnlm_ray.cli import console, documents
from hnlm_ray.cli.completion import run_folders
from hnlm_ray.cli.options import ConfigFiles, Words, opened
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError

if TYPE_CHECKING:
    from hnlm_ray.run.plan import Run

__all__ = ["compare", "diff", "report", "write_file", "write_report"]


def report(
    words: Words,
    config: ConfigFiles,
    to: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("report.html"),
) -> None:
    """Write the report of a finished run as one self-contained HTML file.

    Example: [cyan]hnlm report runs/mine --to mine.html[/]
    """
    write_report(*opened(words, config), to)
    console.output.print(f"wrote {to}")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Finished run folders on the same data.", autocompletion=run_folders),
    ],
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("compare.html"),
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN:VARIANT",
            help="Compare the others with this variant; by default the first one called `uniform`.",
        ),
    ] = None,
    as_json: documents.AsJson = False,
) -> None:
    """Compare every variant of finished runs on one self-contained HTML page.

    The page shows: means over seeds and 95% intervals over users; differences from the baseline with p-values (paired
    t-test and paired bootstrap over users, adjusted by Holm's method); learning curves by epoch and by second; users by
    their activity and items by their popularity; accuracy against what else matters; what each method cost.

    Nothing is run: the runs must be finished (`hnlm run` with the same configuration finishes one), and must have the
    same data and the same split.

    Example: [cyan]hnlm compare runs/mine runs/tuned --baseline runs/mine:uniform --out compare.html[/]
    """
    from hnlm_ray.report.compare_runs import compare_runs
    from hnlm_ray.report.run_comparison import render_comparison
    from hnlm_ray.run.finished import open_runs

    comparison = compare_runs(open_runs(runs), baseline)
    write_file(out, render_comparison(comparison).encode())
    if as_json:
        documents.write(documents.comparison(comparison, str(out)))
        return
    console.print_comparison(comparison)
    console.output.print(f"wrote {out}")


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.", autocompletion=run_folders)],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another one.", autocompletion=run_folders)],
) -> None:
    """Say what changed from one run to another: options, stages, rows.

    A stage is the same where its fingerprint is: it would give the same results. Data and splits may differ; how good
    the variants of runs on the same data are, [cyan]hnlm compare[/] shows.

    Example: [cyan]hnlm diff runs/monday runs/tuesday[/]
    """
    from hnlm_ray.run.difference import option_differences, stage_differences
    from hnlm_ray.run.record import RunRecord
    from hnlm_ray.run.store import RunStore

    records = [RunRecord.read(RunStore(path), path) for path in (first, second)]
    console.print_difference(option_differences(*records), stage_differences(*records), (first, second))


def write_report(options: Config, run: Run, to: Path) -> None:
    """Write the report of a run to a file.

    Raises:
        StoreError: the run has no report.
        ConfigError: the file cannot be written.
    """
    from hnlm_ray.run.reopened import finished
    from hnlm_ray.run.stage import StageKey

    write_file(to, finished(run, options, StageKey("report")).read_bytes("report.html"))


def write_file(to: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    temporary = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(to)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {to} ({error.strerror})", "give a file that can be written") from error

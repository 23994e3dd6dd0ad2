"""Commands about a run: ``run``, ``search``, ``study``, ``estimate``, ``status``, and ``demo``."""

from __future__ import annotations

import functools
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hnlm_ray.cli import console, documents
from hnlm_ray.cli.completion import stages, variants
from hnlm_ray.cli.options import ConfigFiles, Words, configured, opened
from hnlm_ray.cli.packages import lacking
from hnlm_ray.cli.reports import write_file, write_report
from hnlm_ray.cli.serving import bundles_of
from hnlm_ray.cli.validation import obstacles
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ResourceError

if TYPE_CHECKING:
    from hnlm_ray.run.execute import Progress
    from hnlm_ray.run.plan import Run

__all__ = ["demo", "estimate", "run", "run_stages", "search", "status", "study"]

TokensPerSecond = Annotated[
    float | None,
    typer.Option(min=1.0, help="Tokens that one engine writes per second, instead of what its size suggests."),
]


def run(
    words: Words,
    config: ConfigFiles,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Run only stages of this kind; may be repeated.", autocompletion=stages),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Run this stage and those it needs, and stop.", autocompletion=stages)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    tokens_per_second: TokensPerSecond = None,
) -> None:
    """Run the pipeline: every stage that is not complete yet.

    Example: [cyan]hnlm run -c configs/table.yaml data.path=my/folder run=runs/mine train.workers=2[/]
    """
    from hnlm_ray.run.plan import plan

    options = configured(words, config)
    planned = plan(options)
    if dry_run:
        console.print_status(planned, f"Plan of {options.run}")
        return
    chosen = (*(stage or ()), *((*planned.before(until), until) if until else ()))
    done = run_stages(options, chosen, tokens_per_s=tokens_per_second)
    if not done.pending():
        console.print_results(done, options)


def search(
    words: Words,
    config: ConfigFiles,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials per variant, instead of search.trials.")] = None,
    to: Annotated[Path | None, typer.Option(help="Also write the best configuration to this file.")] = None,
) -> None:
    """Search hyper-parameters: the same budget for every variant, the best by validation NDCG@20.

    The section [bold]search[/] of the configuration names the options to try: options of variants, and options of what
    the language model does, whose stages then run once per draw. The first trial of a variant is the variant as
    configured; the others are drawn at random or, with search.algorithm=tpe, proposed. The test split is not read. The
    run folder gets the table of trials, search.html with the plots, and best.yaml, which [cyan]hnlm run -c[/] takes as
    it is.

    Example: [cyan]hnlm search -c configs/movielens.yaml data.path=ml-1m --trials 20 --to tuned.yaml
    'search.space={"train.variants.*.learning_rate": {log_uniform: [1e-4, 1e-1]}}'[/]
    """
    extra = [] if trials is None else [f"search.trials={trials}"]
    options = configured([*words, *extra], config)
    found = run_stages(options, goal="search")["search"].artifact
    console.print_search(found)
    if to is not None:
        write_file(to, found.read_bytes("best.yaml"))


def study(
    words: Words,
    config: ConfigFiles,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VARIANT", help="Compare the others with it, instead of study.against.", autocompletion=variants
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Only this variant; may be repeated. Instead of study.variants.", autocompletion=variants),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials per variant, instead of study.trials.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds, from 0, instead of study.seeds.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Fits at a time, instead of study.jobs.")] = None,
    to: Annotated[Path | None, typer.Option(help="Also write the page to this file.")] = None,
) -> None:
    """Compare every variant over several seeds, each tuned with the same number of trials.

    Trials draw the options that [bold]search.space[/] names; the first trial of a variant is the variant as configured.
    The trial that is best on validation is fitted with every seed and judged once on the test split. As many fits run
    at once as the cluster carries, each in one thread. Every finished fit is kept: the same command goes on where it
    was stopped, and a changed variant repeats its own fits alone. The run folder gets the tables [bold]study[/] and
    [bold]study_fits[/] and the page study.html.

    Example: [cyan]hnlm study -c configs/table.yaml -c mine.yaml data.path=my/folder --against ours --trials 4[/]
    """
    given = {"against": against, "trials": trials, "jobs": jobs}
    extra = [f"study.{name}={value}" for name, value in given.items() if value is not None]
    extra += [f"study.seeds={list(range(seeds))}"] if seeds else []
    extra += [f"study.variants=[{', '.join(variant)}]"] if variant else []
    found = run_stages(configured([*words, *extra], config), goal="study")["study"].artifact
    console.print_study(found)
    if to is not None:
        write_file(to, found.read_bytes("study.html"))


def estimate(
    words: Words,
    config: ConfigFiles,
    tokens_per_second: TokensPerSecond = None,
    price_per_hour: Annotated[float | None, typer.Option(min=0.0, help="Of one engine; prints what it costs.")] = None,
    as_json: documents.AsJson = False,
) -> None:
    """Print prompts, tokens and engine-hours of every stage that runs a model and is still to be done.

    How much an engine writes per second is assumed from the size of its model and the device, where both are known.
    Runs the stage [bold]prepare[/] if it is not complete, and nothing else.
    """
    from hnlm_ray.language.estimate import estimate as estimated
    from hnlm_ray.run.plan import plan

    options = configured(words, config)
    planned = plan(options)
    prepared = planned["prepare"].artifact
    if not prepared.is_complete:
        run_stages(options, ("prepare",), record=False)
    items, interactions = (prepared.read(name) for name in ("items", "interactions"))
    pending = {stage.kind for stage in planned.pending()}
    found = estimated(options, pending, items, interactions, tokens_per_second)
    if as_json:
        documents.write(documents.estimated(found, price_per_hour))
    else:
        console.print_estimate(found, price_per_hour)


def status(words: Words, config: ConfigFiles, as_json: documents.AsJson = False) -> None:
    """Show the stages of a run: state, rows, rejected rows, tokens, seconds.

    Example: [cyan]hnlm status runs/mine[/]
    """
    from hnlm_ray.run.places import shown
    from hnlm_ray.run.reopened import changed_since

    options, found = opened(words, config)
    changed = changed_since(options)
    if as_json:
        documents.write(documents.run_status(found, shown(options.run), changed))
        return
    console.print_status(found, f"Run {options.run}")
    if changed:
        console.print_marked("warn", f"{changed}: `hnlm status {options.run}` shows what it has")


def demo(words: Words, config: ConfigFiles) -> None:
    """Run the pipeline on generated data, serve it, ask it for recommendations, write report.html, stop."""
    from hnlm_ray.run.specs import planned_kinds

    options = configured(words, config or [Path("demo")])
    if (missing := lacking(options, planned_kinds(options), "serve")) is not None:
        raise missing
    import httpx

    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.demo import showcase
    from hnlm_ray.serving import control

    with connected(options.cluster):
        planned = run_stages(options)
        artifacts = planned.artifacts()
        url = control.start(bundles_of(options, planned), options.serve)
        try:
            headers = {"Authorization": f"Bearer {os.environ[token]}"} if (token := options.serve.token_env) else {}
            with httpx.Client(base_url=url, headers=headers, timeout=30.0, trust_env=False) as client:
                table = showcase.recommendations(artifacts, client, options.seed)
        finally:
            control.stop()
    console.output.print()
    console.output.print(table)
    write_report(options, planned, Path("report.html"))
    console.output.print(f"\nreport.html tells the whole story; `hnlm serve {options.run}` serves the demo again")


def run_stages(
    options: Config,
    stages: tuple[str, ...] = (),
    *,
    goal: Literal["search", "study"] | None = None,
    record: bool = True,
    tokens_per_s: float | None = None,
) -> Run:
    """Run what is not complete yet, printing the plan and progress.

    A cluster is started or joined only if something is to do, and a local one only after the plan is found possible.

    Args:
        options: the configuration.
        stages: kinds or names of the stages to run; empty for all.
        goal: a stage that is no part of a run, which is run with what it reads, instead of ``stages``.
        record: note in ``run.json`` what the run consists of; a command that only reads a run leaves that alone.
        tokens_per_s: what one engine writes, for the times in the plan; None for what is measured or assumed.
    """
    from hnlm_ray.cli import preflight
    from hnlm_ray.cli.progress import listening
    from hnlm_ray.cluster.connect import connected, remote_address
    from hnlm_ray.run.execute import execute
    from hnlm_ray.run.models import remarks
    from hnlm_ray.run.plan import plan
    from hnlm_ray.run.study import plan_study

    planned = plan_study(options) if goal == "study" else plan(options, search=goal == "search")
    for remark in remarks(options):
        console.remark("warn", remark)
    names = (*planned.before(goal), goal) if goal else planned.names_of(stages)
    wanted = [one for one in planned.pending() if one.name in names]
    kinds, is_local = {stage.kind for stage in wanted}, remote_address(options.cluster) is None
    if (missing := lacking(options, kinds)) is not None:
        raise missing
    if wanted and is_local:  # another cluster may have what this machine has not
        _refuse(obstacles(options, kinds))
        preflight.check(options, planned, names, preflight.local_capacity(options), tokens_per_s)
    with (
        connected(options.cluster) if wanted else nullcontext(),
        listening(len(names)) as listener,
        _tracked(options, planned, record, listener) as progress,
    ):
        if wanted and not is_local:
            preflight.check(options, planned, names, preflight.cluster_capacity(options), tokens_per_s)
            preflight.require_cluster(options, kinds, preflight.cluster_capacity)
        execute(options, planned, names, progress, record=record)
    return planned


def _tracked(options: Config, planned: Run, record: bool, listener: Progress) -> AbstractContextManager[Progress]:
    """The listener of a run, tracked if trackers are on; what a command only reads a run for is no part of it."""
    if not (record and options.tracking.is_on):
        return nullcontext(listener)
    from hnlm_ray.tracking.pipeline import tracked

    return tracked(options, planned, listener, functools.partial(console.remark, "warn"))


def _refuse(obstacles: list[str]) -> None:
    """Raise an error of what stands in the way of a run, if anything does."""
    if len(obstacles) == 1:
        problem, _, action = obstacles[0].rpartition("; ")
        raise ResourceError(problem, action)
    if obstacles:
        raise ResourceError(" | ".join(one.rstrip(".") for one in obstacles), "correct this; nothing has been started")

"""``hnlm``: the command line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hnlm_ray import __version__
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import BundleError, ConfigError, HnlmError

if TYPE_CHECKING:
    from hnlm_ray.run.plan import Run

__all__ = ["app", "job", "main"]

USER_ERROR, INTERRUPTED = 2, 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""Collaborative filtering sharpened by hard negatives that a language model writes.

Every command takes [bold]--config FILE[/] (YAML over the defaults) and any number of [bold]key.path=value[/].
""",
    epilog="""Try it: [cyan]hnlm demo[/]. Your own data: [cyan]hnlm validate -c configs/table.yaml data.path=FOLDER[/],
then [cyan]hnlm estimate ...[/], then [cyan]hnlm run ...[/] with the same arguments.""",
)

ConfigOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        help="YAML file over the defaults, or the name of a shipped one, such as demo. May be given several times:"
        " sections of a later file merge with those of an earlier one, lists and single values replace.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Options, for example train.workers=2.")
]


@app.command()
def run(
    overrides: Overrides = None,
    config: ConfigOption = None,
    stage: Annotated[list[str] | None, typer.Option(help="Run only stages of this kind; may be repeated.")] = None,
    until: Annotated[str | None, typer.Option(help="Run this stage and those it needs, and stop.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Run the pipeline: every stage that is not complete yet.

    Example: [cyan]hnlm run -c configs/table.yaml data.path=my/folder run=runs/mine train.workers=2[/]
    """
    from hnlm_ray.cli import console
    from hnlm_ray.run.plan import plan

    options = load_config(config or [], overrides or [])
    planned = plan(options)
    if dry_run:
        console.print_status(planned, f"Plan of {options.run}")
        return
    _run(options, (*(stage or ()), *((*planned.before(until), until) if until else ())))


@app.command()
def search(
    overrides: Overrides = None,
    config: ConfigOption = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials per variant; else search.trials.")] = None,
    to: Annotated[Path | None, typer.Option(help="Also write the best configuration here.", show_default=False)] = None,
) -> None:
    """Search hyper-parameters: the same number of trials for every variant, the best by validation NDCG@20.

    The section [bold]search[/] of the configuration says which options are tried: of variants, and of what the language
    model does, for which its stages run once per draw. The first trial of a variant is what is configured, the others
    are drawn at random; the test split is not read. Written into the run folder: the table of trials, search.html with
    the plots, and best.yaml, which [cyan]hnlm run -c[/] takes as it is.

    Example: [cyan]hnlm search -c configs/movielens.yaml data.path=ml-1m --trials 20 --to tuned.yaml
    'search.space={"train.variants.*.learning_rate": {log_uniform: [1e-4, 1e-1]}}'[/]
    """
    from hnlm_ray.cli import console

    extra = [] if trials is None else [f"search.trials={trials}"]
    options = load_config(config or [], [*(overrides or []), *extra])
    found = _run(options, search=True)["search"].artifact
    console.print_search(found)
    if to is not None:
        _write(to, found.read_bytes("best.yaml"))


@app.command()
def validate(overrides: Overrides = None, config: ConfigOption = None) -> None:
    """Check configuration, data and models, and print every problem at once."""
    from hnlm_ray.cli import console
    from hnlm_ray.cli.validation import problems

    found = problems(load_config(config or [], overrides or []))
    for sentence in found:
        console.errors.print(f"[red]✗[/] {sentence}", markup=True)
    if found:
        raise typer.Exit(USER_ERROR)
    console.output.print("[green]✓[/] nothing stands in the way of a run")


@app.command()
def estimate(
    overrides: Overrides = None,
    config: ConfigOption = None,
    tokens_per_second: Annotated[
        float,
        typer.Option(min=1.0, help="Output tokens per second of one engine; 2,600 for the demo model on 2 cores."),
    ] = 2000.0,
) -> None:
    """Print prompts, tokens and engine-hours of every language model stage before anything is spent.

    Only the prepare stage is run, if it is not complete.
    """
    from hnlm_ray.cli import console
    from hnlm_ray.language.estimate import estimate as estimated
    from hnlm_ray.run.plan import plan

    options = load_config(config or [], overrides or [])
    _run(options, ("prepare",), record=False)
    prepared = plan(options)["prepare"].artifact
    items, users, interactions = (prepared.read(name) for name in ("items", "users", "interactions"))
    console.print_estimate(estimated(options, items, users.num_rows, interactions, tokens_per_second))


@app.command()
def status(overrides: Overrides = None, config: ConfigOption = None) -> None:
    """Show the stages of a run: state, rows, rejected rows, tokens, seconds."""
    from hnlm_ray.cli import console
    from hnlm_ray.run.plan import plan

    options = load_config(config or [], overrides or [])
    console.print_status(plan(options), f"Run {options.run}")


@app.command()
def doctor(overrides: Overrides = None, config: ConfigOption = None) -> None:
    """Check the machine, the packages, the engines and the security settings."""
    from hnlm_ray.cli import console
    from hnlm_ray.cli.doctor import examine

    marks = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}
    findings = examine(load_config(config or [], overrides or []))
    for finding in findings:
        console.output.print(f"{marks[finding.verdict]} [bold]{finding.subject}[/] {finding.sentence}")
    if any(finding.verdict == "fail" for finding in findings):
        raise typer.Exit(USER_ERROR)


@app.command()
def serve(
    overrides: Overrides = None,
    config: ConfigOption = None,
    shelf: Annotated[
        str | None,
        typer.Option(
            help="Serve this shelf's current bundle, or this bundle, instead of the run's.", show_default=False
        ),
    ] = None,
) -> None:
    """Serve recommendations over HTTP, with a web page, until interrupted.

    From the bundles of the run ([bold]serve.variant[/], [bold]serve.also[/]), or from a shelf that
    [cyan]hnlm export[/] fills: a new bundle there is taken up without a pause.
    """
    from hnlm_ray.cli import console
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.serving import control

    options = load_config(config or [], overrides or [])
    bundles = {options.serve.variant: shelf} if shelf else _bundles(options)
    with connected(options.cluster):
        url = control.start(bundles, options.serve)
        for name, path in bundles.items():
            console.output.print(f"{name}: {path}", markup=False)
        console.output.print(f"{url}/ shows it, {url}/docs describes the API; Ctrl-C stops")
        try:
            control.wait()
        finally:
            control.stop()


@app.command()
def recommend(
    user: Annotated[str | None, typer.Argument(help="The user's id in the raw data; or --all-users.")] = None,
    overrides: Overrides = None,
    config: ConfigOption = None,
    k: Annotated[int, typer.Option(min=1, help="How many items.")] = 10,
    bundle: Annotated[
        str | None, typer.Option(help="A bundle, or a shelf, instead of the run's bundle.", show_default=False)
    ] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Everybody, into --to.")] = False,
    to: Annotated[
        str | None, typer.Option(help="Folder for Parquet files, local or s3://.", show_default=False)
    ] = None,
) -> None:
    """Print recommendations for one user, or write those of all users, without a server.

    Example: [cyan]hnlm recommend u17 -c configs/demo.yaml --k 5[/]

    Example: [cyan]hnlm recommend --all-users --k 100 --to recommendations -c configs/demo.yaml[/]
    """
    from hnlm_ray.cli import console
    from hnlm_ray.serving.recommend.recommender import Recommender

    # With --all-users the first word after it is an option of the configuration.
    words = [*([user] if all_users and user else []), *(overrides or [])]
    options = load_config(config or [], words)
    source = bundle if bundle else _bundles(options)[options.serve.variant]
    if not all_users:
        if user is None:
            raise ConfigError("no user is named", "give a user's id, or --all-users with --to FOLDER")
        console.print_recommendation(Recommender.load(source).recommend(user, k=k))
        return
    if to is None:
        raise ConfigError("--all-users needs a place to write to", "give --to FOLDER")
    _recommend_all(options, source, to, k)


def _recommend_all(options: Config, bundle: str, to: str, k: int) -> None:
    from hnlm_ray.cli import console
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.serving.offline import recommend_all

    with connected(options.cluster):
        summary = recommend_all(bundle, to, k, say=console.output.print)
    console.output.print(str(summary), markup=False)


@app.command()
def export(
    shelf: Annotated[str, typer.Argument(help="Folder of bundles, local or s3://; made where absent.")],
    overrides: Overrides = None,
    config: ConfigOption = None,
    variant: Annotated[str | None, typer.Option(help="Of serve.variant and serve.also; else the first.")] = None,
    bundle: Annotated[str | None, typer.Option(help="A bundle instead of the run's.", show_default=False)] = None,
    use: Annotated[bool, typer.Option(help="Point to it: services that follow the shelf take it up.")] = True,
) -> None:
    """Copy the run's bundle onto a shelf and make it the current one.

    A service that follows the shelf ([cyan]hnlm serve --shelf SHELF[/], or deploy/serve.yaml) loads it beside the one
    it serves, tries it, and swaps the two. [cyan]hnlm bundles SHELF --back[/] returns to the one before.

    Example: [cyan]hnlm export bundles/shop -c configs/demo.yaml[/]
    """
    from hnlm_ray.cli import console
    from hnlm_ray.serving.bundle.shelf import Shelf

    place = Shelf(shelf)
    info = place.add(bundle or _chosen_bundle(load_config(config or [], overrides or []), variant))
    if use:
        place.use(info.version)
    console.print_bundles(place)


@app.command()
def bundles(
    shelf: Annotated[str, typer.Argument(help="Folder of bundles, local or s3://.")],
    use: Annotated[str | None, typer.Option(metavar="VERSION", help="Make this one the current one.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Return to the one that was current before.")] = False,
    drop: Annotated[str | None, typer.Option(metavar="VERSION", help="Delete one that is not current.")] = None,
) -> None:
    """List the bundles of a shelf; choose, roll back, delete.

    Example: [cyan]hnlm bundles bundles/shop --back[/]
    """
    from hnlm_ray.cli import console
    from hnlm_ray.serving.bundle.shelf import Shelf

    place = Shelf(shelf)
    if sum((use is not None, back, drop is not None)) > 1:
        raise ConfigError("--use, --back and --drop were given together", "give one of them")
    if use is not None:
        place.use(use)
    if back:
        place.back()
    if drop is not None:
        place.drop(drop)
    console.print_bundles(place)


@app.command()
def report(
    overrides: Overrides = None,
    config: ConfigOption = None,
    to: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("report.html"),
) -> None:
    """Write the report of a finished run as one self-contained HTML file."""
    from hnlm_ray.cli import console

    options = load_config(config or [], overrides or [])
    _write_report(options, to)
    console.output.print(f"wrote {to}")


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Finished run folders, on the same data.")],
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("compare.html"),
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN:VARIANT", help="What the others are compared with; else the first variant `uniform`."
        ),
    ] = None,
) -> None:
    """Compare every variant of finished runs on one self-contained HTML page.

    The page has: means over seeds and 95% intervals over users; differences to the baseline with p-values (paired
    t-test and paired bootstrap over users, adjusted by Holm's method); learning curves by epoch and by second; users by
    their activity and items by their popularity; accuracy against what is shown; what each method cost.

    Nothing is run: runs must be finished (`hnlm run` with the same configuration finishes one), and on the same data,
    split alike.

    Example: [cyan]hnlm compare runs/mine runs/tuned --baseline runs/mine:uniform --out compare.html[/]
    """
    from hnlm_ray.cli import console
    from hnlm_ray.report.run_comparison import compare_runs, render_comparison
    from hnlm_ray.run.finished import open_runs

    comparison = compare_runs(open_runs(runs), baseline)
    _write(out, render_comparison(comparison).encode())
    console.print_comparison(comparison)
    console.output.print(f"wrote {out}", markup=False)


@app.command()
def demo(overrides: Overrides = None, config: ConfigOption = None) -> None:
    """Run everything on generated data, serve it, ask for recommendations, write report.html, stop."""
    from hnlm_ray.cli import console
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.demo import showcase
    from hnlm_ray.run.plan import plan
    from hnlm_ray.serving import control

    options = load_config(config or [Path("demo")], overrides or [])
    with connected(options.cluster):
        _run(options, ())
        url = control.start(_bundles(options), options.serve)
        try:
            showcase.show(plan(options), url, options)
        finally:
            control.stop()
    _write_report(options, Path("report.html"))
    console.output.print("\n[bold]report.html[/] tells the whole story; `hnlm serve -c configs/demo.yaml` serves again")


def main() -> None:
    """Entry point: errors of a user become one sentence and exit code 2."""
    with _sentences():
        app()


def job(stages: tuple[str, ...] | None = None) -> NoReturn:
    """Entry point of the scripts in ``jobs/``: ``--config FILE key.path=value ...``.

    Args:
        stages: the kinds of stages to run; None for all; ``search`` runs what it reads as well.
    """
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @command.command(
        help=f"Run {', '.join(stages) if stages else 'the whole pipeline'} on the Ray cluster of this job."
    )
    def _job(overrides: Overrides = None, config: ConfigOption = None) -> None:
        _run(load_config(config or [], overrides or []), stages or (), search=stages == ("search",))

    with _sentences():
        command()
    sys.exit(0)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except HnlmError as error:
        from hnlm_ray.cli import console

        console.errors.print(f"hnlm: {error}", markup=False, style="red")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write("\nhnlm: interrupted; the same command goes on from here\n")
        sys.exit(INTERRUPTED)


def _run(options: Config, stages: tuple[str, ...] = (), *, search: bool = False, record: bool = True) -> Run:
    """Run some stages, or all of them; or the search and what it reads. A reading command leaves the record alone."""
    from hnlm_ray.cli import console
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.run.execute import execute
    from hnlm_ray.run.plan import plan

    planned = plan(options, search=search)
    if search:
        stages = (*planned.before("search"), "search")
    wanted = [one for one in planned.pending() if not stages or {one.kind, one.name} & set(stages)]
    if not wanted:
        execute(options, planned, stages, console.listener(), record=record)
        return planned
    with connected(options.cluster):
        execute(options, planned, stages, console.listener(), record=record)
    return planned


def _bundles(options: Config) -> dict[str, str]:
    """The bundles of a run by variant, the main one first."""
    from hnlm_ray.run.plan import plan
    from hnlm_ray.run.stage import StageKey

    planned, found = plan(options), {}
    for variant in (options.serve.variant, *options.serve.also):
        artifact = planned[StageKey("bundle", variant).name].artifact
        if not artifact.is_complete:
            raise BundleError(f"{options.run} has no bundle for this configuration", "run `hnlm run` with it first")
        found[variant] = artifact.address
    return found


def _chosen_bundle(options: Config, variant: str | None) -> str:
    found = _bundles(options)
    if variant is not None and variant not in found:
        raise ConfigError(f"--variant is {variant!r}, the run has bundles of {', '.join(found)}", "set serve.also")
    return found[variant or options.serve.variant]


def _write_report(options: Config, to: Path) -> None:
    from hnlm_ray.run.plan import plan

    artifact = plan(options)["report"].artifact
    if not artifact.is_complete:
        raise ConfigError(f"{options.run} has no report for this configuration", "run `hnlm run` with it first")
    _write(to, artifact.read_bytes("report.html"))


def _write(to: Path, content: bytes) -> None:
    temporary = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(to)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {to} ({error.strerror})", "give a place that can be written") from error


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"hnlm {__version__}")
        raise typer.Exit


if __name__ == "__main__":
    main()

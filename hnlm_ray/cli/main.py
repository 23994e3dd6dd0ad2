"""``hnlm``: the list of commands, and the entry point."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hnlm_ray import __version__
from hnlm_ray.cli.data_sets import data
from hnlm_ray.cli.doctor import doctor
from hnlm_ray.cli.endings import errors_as_sentences
from hnlm_ray.cli.hub import pull, push
from hnlm_ray.cli.log import asks_for_json, run_app, with_log_format
from hnlm_ray.cli.options import refuse_dotted_options
from hnlm_ray.cli.reports import compare, diff, report
from hnlm_ray.cli.runs import demo, estimate, run, search, status, study
from hnlm_ray.cli.serving import bundles, export, recommend, serve
from hnlm_ray.cli.settings import config
from hnlm_ray.cli.validation import validate
from hnlm_ray.cli.verification import gc, verify

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Collaborative filtering sharpened by hard negatives that a language model writes.

Commands take [bold]--config FILE[/] (YAML over the defaults) and any number of [bold]key.path=value[/] over that.
""",
    epilog="""Try it: [cyan]hnlm demo[/]. Your own data: [cyan]hnlm validate -c configs/table.yaml data.path=FOLDER[/],
then [cyan]hnlm estimate ...[/] and [cyan]hnlm run ...[/] with the same arguments.""",
)

for command in (
    run, search, study, validate, estimate, status, verify, gc, doctor, config, serve, recommend, export, bundles,
    push, pull, report, compare, diff, demo,
):  # fmt: skip
    app.command()(with_log_format(command))
app.add_typer(data, name="data")


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"hnlm {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    with errors_as_sentences(asks_for_json(sys.argv[1:])):
        refuse_dotted_options(sys.argv[1:])
        run_app(app)


if __name__ == "__main__":
    main()

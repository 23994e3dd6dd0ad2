"""``hnlm data``: public data sets, and the data of a run for other libraries."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.log import with_log_format
from hnlm_ray.errors import ConfigError

if TYPE_CHECKING:
    from hnlm_ray.exchange.sets import DataSet

__all__ = ["data"]

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""Fetch public data sets, and write the data of a run for other libraries.

Example: [cyan]hnlm data get ml-100k[/]
""",
)


@data.command("list")
@with_log_format
def list_sets(
    name: Annotated[
        str | None, typer.Argument(help="A data set, or a family such as amazon2023, to say everything about.")
    ] = None,
) -> None:
    """List the data sets that can be fetched, or say everything about one.

    Example: [cyan]hnlm data list amazon2018[/]
    """
    from hnlm_ray.exchange.sets import FAMILIES, data_set

    if name is None:
        _print_list()
    elif name in FAMILIES:
        family = FAMILIES[name]
        _print_about(family.of(family.categories[0]))
        console.output.print(f"the same for each of: {', '.join(family.categories)}")
    else:
        _print_about(data_set(name))


@data.command("get")
@with_log_format
def get_set(
    name: Annotated[str, typer.Argument(help="As in hnlm data list, for example ml-1m or amazon2023/All_Beauty.")],
    folder: Annotated[Path | None, typer.Argument(help="Where to, by default data/NAME.", show_default=False)] = None,
    accept: Annotated[
        bool,
        typer.Option("--accept-licence", "--accept-license", help="Accept the licence without being asked."),
    ] = False,
) -> None:
    """Fetch a public data set, check it, and unpack what is read of it.

    A download that was cut off goes on where it stopped. What lies in the folder already is checked and not fetched
    again, so a file may also be put there by hand. With [bold]HNLM_DATA_MIRROR[/] in the environment, files come from
    [bold]$HNLM_DATA_MIRROR/NAME/FILE[/] instead of their publishers.

    Example: [cyan]hnlm data get ml-1m --accept-licence[/]
    """
    from hnlm_ray.exchange.obtain import obtain
    from hnlm_ray.exchange.sets import data_set

    chosen = data_set(name)
    target = folder or Path("data") / chosen.name
    _require_licence(chosen, target, accept)
    lock = obtain(chosen, target, say=lambda line: console.errors.print(line, style="dim"))
    trusted = [name for name, file in lock.files.items() if file.checked == "first use"]
    console.print_marked("ok", f"{chosen.name} is complete in {target}")
    if trusted:
        said = f"nobody has published a digest of {' and '.join(trusted)}: trusted on first use, checked from now on"
        console.print_marked("warn", said)
    console.output.print(f"cite: {chosen.citation}")
    path = shlex.quote(f"data.path={target}")
    console.output.print(f"next: hnlm run -c {chosen.config} {path} run=runs/{chosen.name.replace('/', '-')}")


def _require_licence(chosen: DataSet, target: Path, accept: bool) -> None:
    """Show the licence, and have it accepted: by the option, in an earlier fetch, or by an answer on the terminal.

    Raises:
        ConfigError: it was not accepted.
    """
    from hnlm_ray.exchange.obtain import read_lock

    lock = read_lock(target)
    console.errors.print(f"licence of {chosen.name}: {chosen.licence} ({chosen.link})")
    if accept or (lock is not None and lock.licence == chosen.licence):
        return
    if sys.stdin.isatty() and typer.confirm("Do you accept it?", err=True):
        return
    raise ConfigError(f"the licence of {chosen.name} has not been accepted", "read it, and add --accept-licence")


def _print_list() -> None:
    from rich.table import Table

    from hnlm_ray.exchange.sets import FAMILIES, SETS

    table = Table(title="Data sets", title_justify="left", title_style="bold", header_style="bold")
    for column in ("name", "what it holds", "MB", "checked against", "read with"):
        table.add_column(column, justify="right" if column == "MB" else "left")
    for one in SETS.values():
        size = "" if one.size is None else f"{one.size / 1e6:,.1f}"
        checked = "its digest" if one.is_pinned else "first use"
        table.add_row(one.name, one.about, size, checked, f"-c {one.config}")
    for family in FAMILIES.values():
        about = f"{family.about}; {len(family.categories)} categories"
        table.add_row(f"{family.name}/CATEGORY", about, "", "first use", f"-c {family.name}")
    console.output.print(table)
    console.output.print(
        "first use: no digest is published, so the first download is trusted, and data.lock holds later ones to it"
    )


def _print_about(chosen: DataSet) -> None:
    console.output.print(f"{chosen.name}: {chosen.about}")
    console.output.print(f"licence: {chosen.licence} ({chosen.link})")
    console.output.print(f"cite: {chosen.citation}")
    console.output.print(f"read with: -c {chosen.config}")
    for file in chosen.files:
        size = f", {file.size:,} bytes" if file.size is not None else ""
        checked = file.digest or "no published digest, trusted on first use"
        console.output.print(f"file: {file.name}{size}, {checked}, from {' or '.join(file.addresses)}")


@data.command("export")
@with_log_format
def export_data(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    folder: Annotated[Path, typer.Argument(help="Where to; it must not exist, or be empty.")],
    form: Annotated[Literal["recbole", "rectools"], typer.Option("--format", help="Whose form.")] = "recbole",
) -> None:
    """Write the splits, the items and the hard negatives of a run for RecBole or RecTools.

    RecBole gets atomic files and a configuration that names them; RecTools gets Parquet tables. The ids are those of
    the raw data.

    Example: [cyan]hnlm data export runs/mine exported/mine --format rectools[/]
    """
    from hnlm_ray.exchange.export import export

    for line in export(run, folder, form):
        console.output.print(line)

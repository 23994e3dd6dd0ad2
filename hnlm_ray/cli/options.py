"""The two parameters that almost every command takes: configuration files and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ConfigFiles", "Overrides"]

ConfigFiles = Annotated[
    list[Path],
    typer.Option(
        "--config",
        "-c",
        default_factory=list,
        metavar="FILE",
        help="YAML file over the defaults, or the name of a shipped one, such as demo. May be given several times:"
        " sections of a later file merge with those of an earlier one, lists and single values replace.",
        show_default=False,
    ),
]

Overrides = Annotated[
    list[str],
    typer.Argument(
        default_factory=list,
        metavar="KEY.PATH=VALUE",
        help="Options over the files, for example train.workers=2.",
        show_default=False,
    ),
]

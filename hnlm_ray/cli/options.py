"""The two parameters that almost every command takes: configuration files and overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hnlm_ray.config.overlay import as_override
from hnlm_ray.errors import ConfigError

__all__ = ["ConfigFiles", "Overrides", "refuse_dotted_options"]

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


def refuse_dotted_options(words: Sequence[str]) -> None:
    """Tell somebody who writes ``--train.workers 2`` how an option of the configuration is given.

    Raises:
        ConfigError: one of the words of a command line is such an option.
    """
    for index, word in enumerate(words):
        if word.startswith("--") and "." in word.partition("=")[0]:
            raise ConfigError(f"there is no option {word}", f"write {as_override(word, words[index + 1 :])}")

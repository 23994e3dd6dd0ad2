"""The parameters that almost every command takes: a run folder or configuration files, and overrides."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hnlm_ray.cli.completion import config_files, run_folders
from hnlm_ray.config.load import load_config
from hnlm_ray.config.overlay import as_override, check_form
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from hnlm_ray.run.plan import Run

__all__ = ["ConfigFiles", "Words", "configured", "is_override", "is_run", "opened", "refuse_dotted_options"]

ConfigFiles = Annotated[
    list[Path],
    typer.Option(
        "--config",
        "-c",
        default_factory=list,
        metavar="FILE",
        help="YAML file over the defaults, or the name of a shipped one, such as demo. May be given several times:"
        " sections of a later file merge with those of an earlier one, lists and single values replace.",
        autocompletion=config_files,
        show_default=False,
    ),
]

Words = Annotated[
    list[str],
    typer.Argument(
        default_factory=list,
        metavar="[RUN] [KEY.PATH=VALUE]...",
        help="The folder of a run, whose run.json has its configuration; options, for example train.workers=2.",
        autocompletion=run_folders,
        show_default=False,
    ),
]


def configured(words: Sequence[str], files: Sequence[Path]) -> Config:
    """The configuration that a command is given: by a run folder, or by files and overrides.

    Raises:
        ConfigError: an option is wrong, differs from that of the run, or a word is neither a run nor an option.
        StoreError: a folder is no run.
    """
    from hnlm_ray.run.reopened import reopen

    folder, overrides = _run_and_overrides(words)
    return load_config(files, overrides) if folder is None else reopen(folder, files, overrides)


def opened(words: Sequence[str], files: Sequence[Path]) -> tuple[Config, Run]:
    """:func:`configured`, and the stages: those that a run folder has, or those that the configuration asks for.

    Raises:
        HnlmError: as :func:`configured`; or raw data and models that the configuration names cannot be found.
    """
    from hnlm_ray.run.plan import plan
    from hnlm_ray.run.reopened import recorded_run

    config = configured(words, files)
    return config, plan(config) if _run_and_overrides(words)[0] is None else recorded_run(config.run, config)


def is_override(word: str) -> bool:
    """Whether a word of a command is an option of the configuration, so that neither a path nor an id is meant."""
    key, equals, _ = word.partition("=")
    return bool(equals) and key.partition(".")[0] in Config.model_fields


def is_run(word: str) -> bool:
    """Whether a word of a command is a folder with a ``run.json``."""
    from hnlm_ray.run.record import RECORD
    from hnlm_ray.run.store import RunStore

    with contextlib.suppress(StoreError):  # an id may look like an address
        return not is_override(word) and RunStore(word).read_text(RECORD) is not None
    return False


def refuse_dotted_options(words: Sequence[str]) -> None:
    """Tell somebody who writes ``--train.workers 2`` how an option of the configuration is given.

    Raises:
        ConfigError: one of the words of a command line is such an option.
    """
    for index, word in enumerate(words):
        if word.startswith("--") and "." in word.partition("=")[0]:
            raise ConfigError(f"there is no option {word}", f"write {as_override(word, words[index + 1 :])}")


def _run_and_overrides(words: Sequence[str]) -> tuple[str | None, list[str]]:
    for index, word in enumerate(words):
        if not _names_a_place(word):
            check_form(word, words[index + 1 :])
    folders = [word for word in words if _names_a_place(word)]
    if len(folders) > 1:
        raise ConfigError(f"two runs are named, {folders[0]} and {folders[1]}", "name one")
    return next(iter(folders), None), [word for word in words if word not in folders]


def _names_a_place(word: str) -> bool:
    """Whether a word is meant as a folder or an address, and not as an option or what somebody took for its form."""
    if is_override(word) or not word:
        return False
    if "/" in word.partition("=")[0] or Path(word).expanduser().is_dir():
        return True
    return not ("=" in word or "." in word or word.startswith("-") or word in Config.model_fields)

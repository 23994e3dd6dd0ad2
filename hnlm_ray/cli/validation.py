"""``hnlm validate``: every problem of a configuration and its data at once, before anything is spent."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.documents import AsJson, problems, write
from hnlm_ray.cli.options import ConfigFiles, Words, configured
from hnlm_ray.cli.packages import lacking
from hnlm_ray.cli.resources import READERS, WRITERS, shortages
from hnlm_ray.config.plugins import load_object
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import HnlmError, PackageError

if TYPE_CHECKING:
    from hnlm_ray.data.checks import Findings

__all__ = ["endpoint_problems", "examine", "nearest_folder", "obstacles", "validate"]


def validate(words: Words, config: ConfigFiles, as_json: AsJson = False) -> None:
    """Check configuration, data and models, and print every problem at once.

    Packages that the run needs and this machine lacks are a warning: the run may be meant for another one.
    """
    from hnlm_ray.run.models import remarks
    from hnlm_ray.run.specs import planned_kinds

    options = configured(words, config)
    found = examine(options)
    if as_json:
        write(problems(found, remarks(options)))
    else:
        for sentence in [*found.warnings, *remarks(options)]:
            console.remark("warn", sentence)
        for sentence in found.problems:
            console.remark("fail", sentence)
    if found.problems:
        raise typer.Exit(2)
    if not as_json:
        is_elsewhere = lacking(options, planned_kinds(options)) is not None
        console.print_marked("ok", f"nothing {'else ' if is_elsewhere else ''}stands in the way of a run")


def examine(config: Config) -> Findings:
    """Everything that stands in the way of a run, and what may spoil its result."""
    from hnlm_ray.data.checks import Findings
    from hnlm_ray.run.specs import planned_kinds

    data, kinds = _data(config), planned_kinds(config)
    rest = [*obstacles(config, kinds), *endpoint_problems(config, kinds), *_sentences(_run_folder, config)]
    missing = lacking(config, kinds, who="`hnlm run`")
    return Findings([*data.problems, *rest], [*data.warnings, *([str(missing)] if missing else [])])


def obstacles(config: Config, kinds: Collection[str]) -> list[str]:
    """What would keep stages from running: models and classes that cannot be had, and what the machine lacks.

    What Hugging Face's libraries would tell of the models is left out where these are not installed, which
    :func:`hnlm_ray.cli.packages.lacking` says.

    Args:
        config: the whole configuration.
        kinds: the kinds of stages that are to run; what the others need is not looked at.

    Returns:
        One sentence for each.
    """
    checks = (_models, _callbacks, _trackers, shortages)
    return [sentence for check in checks for sentence in _sentences(check, config, kinds)]


def _sentences(check: Callable[..., Iterable[str]], *arguments: Any) -> list[str]:
    try:
        return list(check(*arguments))
    except HnlmError as error:
        return [str(error)]


def nearest_folder(run: str) -> Path | None:
    """The run folder or, before it exists, the nearest place above it that does; None for a remote one.

    Raises:
        StoreError: there is no such place.
    """
    from pyarrow.fs import LocalFileSystem

    from hnlm_ray.run.places import resolve

    filesystem, path = resolve(run)
    if not isinstance(filesystem, LocalFileSystem):
        return None
    return next(folder for folder in (Path(path), *Path(path).parents) if folder.exists())


def _data(config: Config) -> Findings:
    """Problems and warnings of the raw data."""
    from hnlm_ray.data.checks import Findings, check

    try:
        return check(config.data, config.seed)
    except HnlmError as error:
        return Findings([str(error)])


def _models(config: Config, kinds: Collection[str]) -> list[str]:
    from hnlm_ray.demo import assets
    from hnlm_ray.language.checks import check, check_folder
    from hnlm_ray.run.models import missing_models

    if (missing := missing_models(config)) is not None:
        return [str(missing)]
    if PackageError.about("a model", ("llm",)) is not None:
        return []
    writes, reads = config.llm.engine != "http" and WRITERS & {*kinds}, READERS & {*kinds}
    found = check(config.llm if writes else None, config.embed if reads else None)
    if "tokens" in kinds:
        found += [f"tune.model: {problem}" for problem in check_folder(assets.resolve(config.tune.model))]
        if config.tune.start is not None and not (Path(config.tune.start).expanduser() / "encoder.json").is_file():
            found.append(f"tune.start: {config.tune.start} holds no encoder.json; give the folder of a tuned encoder.")
    return found


def _callbacks(config: Config, kinds: Collection[str]) -> list[str]:
    """Callbacks that cannot be loaded, which otherwise would show when the first fit begins."""
    if "train" in kinds:
        for number, one in enumerate(config.train.callbacks):
            load_object(one.path, f"train.callbacks.{number}")
    return []


def _trackers(config: Config, kinds: Collection[str]) -> list[str]:
    """Packages of trackers that are not installed."""
    from hnlm_ray.tracking.packages import missing_packages

    return missing_packages(config.tracking)


def endpoint_problems(config: Config, kinds: Collection[str]) -> list[str]:
    """What a quick look at the endpoint shows, where stages of these kinds ask one: one sentence per problem."""
    from hnlm_ray.language.checks import check
    from hnlm_ray.run.models import missing_models

    is_asked = config.llm.engine == "http" and WRITERS & {*kinds} and missing_models(config) is None
    return check(config.llm, None) if is_asked else []


def _run_folder(config: Config) -> Iterator[str]:
    folder = nearest_folder(config.run)
    if folder is None:
        return
    if not folder.is_dir():
        yield f"run: {folder} is a file; give a folder with run=."
    elif not os.access(folder, os.W_OK):
        yield f"run: {folder} cannot be written; give another folder with run=."

"""``hnlm validate``: every problem of a configuration and its data at once, before anything is spent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.options import ConfigFiles, Words, configured
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import HnlmError

if TYPE_CHECKING:
    from hnlm_ray.data.checks import Findings

__all__ = ["nearest_folder", "problems", "validate"]


def validate(words: Words, config: ConfigFiles) -> None:
    """Check configuration, data and models, and print every problem at once."""
    from hnlm_ray.run.models import remarks

    options = configured(words, config)
    warnings: list[str] = []
    found = problems(options, warnings)
    warnings += remarks(options)
    for sentence in warnings:
        console.print_marked("warn", sentence, to=console.errors)
    for sentence in found:
        console.print_marked("fail", sentence, to=console.errors)
    if found:
        raise typer.Exit(2)
    console.print_marked("ok", "nothing stands in the way of a run")


def problems(config: Config, warnings: list[str] | None = None) -> list[str]:
    """One sentence per problem; empty when a run can start.

    Args:
        config: the whole configuration.
        warnings: gets a sentence for each thing that does not stop a run and may spoil its result.
    """
    data = _data(config)
    found = data.problems
    if warnings is not None:
        warnings.extend(data.warnings)
    for check in (_language_model, _resources, _run_folder):
        try:
            found += check(config)
        except HnlmError as error:
            found.append(str(error))
    return found


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


def _language_model(config: Config) -> list[str]:
    from hnlm_ray.demo import assets
    from hnlm_ray.language.checks import check, check_folder
    from hnlm_ray.run.models import missing_models
    from hnlm_ray.run.specs import planned_kinds

    kinds, missing = planned_kinds(config), missing_models(config)
    if missing is not None:
        return [str(missing)]
    found = check(config.llm if "item_profiles" in kinds else None, config.embed if "vectors" in kinds else None)
    if "tokens" in kinds:
        found += [f"tune.model: {problem}" for problem in check_folder(assets.resolve(config.tune.model))]
        if config.tune.start is not None and not (Path(config.tune.start).expanduser() / "encoder.json").is_file():
            found.append(f"tune.start: {config.tune.start} holds no encoder.json; give the folder of a tuned encoder.")
    return found


def _resources(config: Config) -> Iterator[str]:
    from hnlm_ray.cluster.connect import local_cpus, remote_address

    if remote_address(config.cluster) is not None:
        return
    have, llm = local_cpus(config.cluster), config.llm
    # An engine replica needs three slots more, for reading, writing and the filter of a resumed run.
    rules = (
        ("llm.replicas", 3 + (llm.replicas * llm.tensor_parallel if llm.engine == "vllm" else 0)),
        ("train.workers", 1 + config.train.workers),
        ("tune.workers", 1 + config.tune.workers),
        ("encode.replicas", 3 + config.encode.replicas),
        ("serve.replicas", 1 + config.serve.replicas),
    )
    for option, needs in rules:
        if needs > have:
            action = f"set cluster.num_cpus={needs} or lower {option}"
            yield f"{option} needs {needs} logical CPUs, a local Ray would have {have}; {action}."


def _run_folder(config: Config) -> Iterator[str]:
    folder = nearest_folder(config.run)
    if folder is None:
        return
    if not folder.is_dir():
        yield f"run: {folder} is a file; give a folder with run=."
    elif not os.access(folder, os.W_OK):
        yield f"run: {folder} cannot be written; give another folder with run=."

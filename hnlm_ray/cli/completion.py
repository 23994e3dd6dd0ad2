"""What the shell proposes for an argument: shipped configurations, kinds of stages, variants, run folders.

A shell asks at every press of a key, so nothing heavy is loaded, and what cannot be found is not proposed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

import typer

from hnlm_ray.errors import HnlmError

__all__ = ["config_files", "run_folders", "stages", "variants"]

_RECORD = "run.json"
_PLACES = (".", "runs")
"""Folders in which runs are looked for, besides the one that is being typed."""


def config_files(incomplete: str) -> list[str]:
    """Names of shipped configurations, and YAML files."""
    from hnlm_ray.config.load import shipped_configs

    return _beginning([*shipped_configs(), *_paths(incomplete, "*.yaml")], incomplete)


def run_folders(incomplete: str) -> list[str]:
    """Folders with a ``run.json``."""
    found: list[str] = []
    for place in dict.fromkeys([*_PLACES, _folder_of(incomplete)]):
        with contextlib.suppress(OSError):
            found += [str(path.parent) for path in Path(place).expanduser().glob(f"*/{_RECORD}")]
    return _beginning(dict.fromkeys(found), incomplete)


def stages(incomplete: str) -> list[str]:
    """Kinds of stages: each has a module of its name, and reading their descriptions would load NumPy and Arrow."""
    modules = (Path(__file__).parents[1] / "stages").glob("*.py")
    return _beginning(sorted(path.stem for path in modules if path.stem != "__init__"), incomplete)


def variants(context: typer.Context, incomplete: str) -> list[str]:
    """Variants of the run, or of the configuration, that the command line has named so far."""
    from hnlm_ray.config.load import load_config

    for word in context.args:  # what is read of a command line that is not complete yet, besides options
        if names := _variants_of_run(word):
            return _beginning(names, incomplete)
    files = [Path(file) for file in context.params.get("config") or []]
    try:
        config = load_config(files, [word for word in context.args if "=" in word])
    except HnlmError:
        return []
    return _beginning(config.train.variants, incomplete)


def _variants_of_run(folder: str) -> list[str]:
    """Those that the record of a local run folder has; none where there is no record."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((Path(folder).expanduser() / _RECORD).read_text(encoding="utf-8"))
        return list(record["config"]["train"]["variants"])
    return []


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str, pattern: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(str(path) for path in Path(_folder_of(incomplete)).glob(pattern))
    return []


def _folder_of(incomplete: str) -> str:
    """The folder that is being typed."""
    folder, slash, _ = incomplete.rpartition("/")
    return folder or ("/" if slash else ".")

"""What the scripts in ``jobs/`` run: one stage, the whole pipeline, the search or the study, on the job's cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, NoReturn

import typer

from hnlm_ray.cli.endings import errors_as_sentences
from hnlm_ray.cli.log import asks_for_json, run_app, with_log_format
from hnlm_ray.cli.options import ConfigFiles, Words, configured, refuse_dotted_options
from hnlm_ray.cli.runs import run_stages
from hnlm_ray.run.specs import SPECS

__all__ = ["job"]

_GOALS: dict[str, Literal["search", "study"]] = {"search": "search", "study": "study"}
"""Stages that are no part of a run."""


def job(script: str) -> NoReturn:
    """Run what a script is named after, with the arguments ``--config FILE key.path=value ...`` or ``RUN``.

    Args:
        script: the script's path. Its name is a kind of stage; ``search`` or ``study``, which
            first run what they read; or ``pipeline`` for every stage.
    """
    name = Path(script).stem
    stages = () if name == "pipeline" else (name,)
    about = SPECS[name].about if stages else "Run every stage that is not complete yet"
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @command.command(help=f"{about}, on the Ray cluster of this job.")
    @with_log_format
    def _job(words: Words, config: ConfigFiles) -> None:
        run_stages(configured(words, config), stages, goal=_GOALS.get(name))

    with errors_as_sentences(asks_for_json(sys.argv[1:])):
        refuse_dotted_options(sys.argv[1:])
        run_app(command)
    sys.exit(0)

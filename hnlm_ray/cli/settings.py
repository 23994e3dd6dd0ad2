"""``hnlm config``: every option, what it means, and what a configuration makes of it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.options import ConfigFiles, Words, configured
from hnlm_ray.config import reference
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError

__all__ = ["config"]


def config(
    words: Words,
    config: ConfigFiles,
    show: Annotated[bool, typer.Option("--show", help="Every option with its value, as a commented file.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Only options that are not the defaults.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="A JSON schema of configuration files.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/options.md.")] = False,
) -> None:
    """Print every option with its value and its meaning, for a configuration or a run.

    What is printed is a configuration file itself: [cyan]hnlm config -c table -c mine.yaml > all.yaml[/].

    Example: [cyan]hnlm config runs/mine --diff[/]
    """
    if sum((show, diff, schema, markdown)) > 1:
        raise ConfigError("--show, --diff, --schema and --markdown were given together", "give one of them")
    options = configured(words, config)
    if schema:
        console.output.print(json.dumps(Config.model_json_schema(), indent=2))
    elif markdown:
        console.output.print(reference.as_markdown(), end="")
    elif diff:
        for path, value, default in reference.differences(options):
            console.output.print(f"{path}={value}  # default {default}")
    else:
        console.output.print(reference.as_yaml(options), end="")

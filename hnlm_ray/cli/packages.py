"""Which extras of the package a command needs for what it is asked to do."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from hnlm_ray.cli.resources import READERS, WRITERS
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import PackageError

__all__ = ["extras_of", "lacking", "this_command"]

_TUNERS = {"tokens", "tune", "encode"}


def this_command() -> str:
    """What the user has started, as a sentence names it: ``hnlm run``, or a script of ``jobs/``, between backquotes."""
    script = Path(sys.argv[0])
    if script.parent.name == "jobs":
        return f"`jobs/{script.name}`"
    return f"`hnlm {next((word for word in sys.argv[1:] if not word.startswith('-')), '')}`"


def extras_of(config: Config, kinds: Collection[str]) -> list[str]:
    """The extras that stages of these kinds need on the machines that they run on."""
    from hnlm_ray.run.specs import planned_kinds

    writes, reads, tunes = WRITERS & {*kinds}, READERS & {*kinds}, _TUNERS & {*kinds}
    runs_vllm = (writes and config.llm.engine == "vllm") or (reads and config.embed.engine == "vllm")
    # A bundle has vectors of profiles, which its text encoder makes.
    describes = "bundle" in kinds and config.embed.model and {"vectors", "user_profiles"} <= planned_kinds(config)
    needed = {
        "ray": bool(kinds),
        "llm": runs_vllm or describes or tunes or "ground" in kinds,
        "cpu": runs_vllm or "encode" in kinds,
        "tune": tunes,
    }
    return [extra for extra, is_needed in needed.items() if is_needed]


def lacking(config: Config, kinds: Collection[str], *more: str, who: str | None = None) -> PackageError | None:
    """The error of what stages of these kinds lack on this machine; None if they lack nothing.

    Args:
        config: the whole configuration.
        kinds: the kinds of stages that are to run. On a cluster of others these run elsewhere, and only Ray is needed.
        more: extras that are needed besides.
        who: what needs them; by default :func:`this_command`.
    """
    from hnlm_ray.cluster.connect import remote_address

    here = extras_of(config, kinds) if remote_address(config.cluster) is None else ["ray"] if kinds else []
    return PackageError.about(who or this_command(), [*here, *more])

"""``hnlm verify``: whether a run still holds what was committed."""

from __future__ import annotations

from typing import Annotated

import typer

from hnlm_ray.cli import console
from hnlm_ray.errors import StoreError

__all__ = ["verify"]


def verify(run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Check size and checksum of every file of a run against the manifests of its stages.

    Each stage checks what it reads; this checks all, and names each damaged file with what to do about it. Results that
    another configuration left in the same run are checked too. The exit code is 2 if anything is damaged.

    Example: [cyan]hnlm verify runs/mine[/]
    """
    from hnlm_ray.run.record import RunRecord
    from hnlm_ray.run.store import RunStore

    store = RunStore(run)
    RunRecord.read(store, run)
    artifacts, damaged = store.artifacts(), 0
    for artifact in artifacts:
        name = f"{artifact.stage}/{artifact.fingerprint}"
        try:
            if not artifact.is_complete:
                console.print_marked("warn", "is not complete; the next run continues or clears it", subject=name)
                continue
            artifact.verify()
            files = artifact.manifest().files.values()
        except StoreError as error:
            damaged += 1
            console.print_marked("fail", str(error), subject=name)
        else:
            size = sum(file.bytes for file in files) / 2**20
            console.print_marked("ok", f"{len(files)} files, {size:,.1f} MiB", subject=name)
    if damaged:
        raise StoreError(f"{damaged} of {len(artifacts)} results in {run} are damaged", "do what the lines above say")

"""``hnlm verify`` and ``hnlm gc``: whether a run still holds what was committed, and what it needs no more."""

from __future__ import annotations

from typing import Annotated

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.completion import run_folders
from hnlm_ray.errors import StoreError

__all__ = ["gc", "verify"]


_Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.", autocompletion=run_folders)]


def verify(run: _Run) -> None:
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


def gc(
    run: _Run,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be deleted, and delete nothing.")] = False,
    studies: Annotated[
        bool, typer.Option("--studies", help="Delete the results of studies and searches, too; they are kept else.")
    ] = False,
) -> None:
    """Delete what a run needs no more: results of configurations that it had before, and leftover work files.

    What run.json lists stays, so every command on the run folder works as before. A bundle that a service still reads
    from an earlier configuration is among what goes. Nothing is deleted while another process works on the run.

    Example: [cyan]hnlm gc runs/mine --dry-run[/]
    """
    from hnlm_ray.run.leftovers import leftovers
    from hnlm_ray.run.record import RunRecord
    from hnlm_ray.run.store import RunStore

    store = RunStore(run)
    record, total = RunRecord.read(store, run), 0
    with store.lock():
        for leftover in list(leftovers(store, record, studies=studies)):
            if not dry_run:
                leftover.delete()
            total += leftover.bytes
            said = f"{leftover.reason}, {leftover.bytes / 2**20:,.1f} MiB"
            console.print_marked("warn" if dry_run else "ok", said, subject=leftover.name)
    console.output.print(f"{total / 2**20:,.1f} MiB {'would be' if dry_run else 'were'} deleted")

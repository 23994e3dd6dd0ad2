"""``--json``: the result of a command as one JSON document, whose fields docs/output.md describes.

A field keeps its name and meaning; new ones may be added. What is not known is null.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hnlm_ray.cli.json_lines import strict
from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.errors import StoreError

if TYPE_CHECKING:
    from hnlm_ray.data.checks import Findings
    from hnlm_ray.language.estimate import Estimate
    from hnlm_ray.report.run_comparison import Method, RunComparison
    from hnlm_ray.run.plan import PlannedStage, Run

__all__ = ["AsJson", "comparison", "estimated", "problems", "run_status", "write"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead (docs/output.md).")]


def write(document: Mapping[str, Any]) -> None:
    """Print a document to standard output, in ASCII alone, so that no text in it commands a terminal."""
    sys.stdout.write(json.dumps(strict(dict(document)), indent=2, allow_nan=False) + "\n")


def run_status(run: Run, folder: str, changed: str) -> dict[str, Any]:
    """The stages of a run.

    Args:
        run: the plan.
        folder: its address.
        changed: what the configuration has changed since the run, as a sentence; "" for nothing.
    """
    stages = [_stage(stage) for stage in run.stages]
    is_complete = all(stage["state"] == "complete" for stage in stages)
    return {"run": folder, "complete": is_complete, "changed": changed or None, "stages": stages}


def _stage(stage: PlannedStage) -> dict[str, Any]:
    artifact, known = stage.artifact, stage.key.fields()
    about = {"stage": stage.name, **{name: known.get(name) for name in ("kind", "variant", "seed")}}
    about |= {"fingerprint": artifact.fingerprint, "path": artifact.path}
    empty: dict[str, Any] = {"seconds": None, "committed": None, "rows": {}, "counts": {}, "warnings": []}
    try:
        if not artifact.is_complete:
            state = "interrupted" if artifact.exists else "pending"
            return {**about, "state": state, "problem": None, **empty}
        manifest = artifact.manifest()
    except StoreError as error:
        return {**about, "state": "damaged", "problem": str(error), **empty}
    when = datetime.fromtimestamp(manifest.committed, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    made = {"seconds": manifest.seconds, "committed": when, "rows": manifest.rows, "counts": manifest.counts}
    return {**about, "state": "complete", "problem": None, **made, "warnings": list(manifest.warnings)}


def problems(found: Findings, remarks: Sequence[str]) -> dict[str, Any]:
    """What ``hnlm validate`` found."""
    return {"ok": not found.problems, "problems": found.problems, "warnings": [*found.warnings, *remarks]}


def estimated(estimate: Estimate, price: float | None) -> dict[str, Any]:
    """What the models of a run will read and write.

    Args:
        estimate: of all stages.
        price: of an hour of one engine; None where it is not given.
    """

    def cost(hours: float | None) -> float | None:
        return None if hours is None or price is None else hours * price

    stages = [{**asdict(stage), "cost": cost(stage.engine_hours)} for stage in estimate.stages]
    known = [stage.engine_hours for stage in estimate.stages if stage.engine_hours is not None]
    total = sum(known) if len(known) == len(estimate.stages) else None
    return {"stages": stages, "engine_hours": total, "cost": cost(total), "notes": list(estimate.notes)}


def comparison(compared: RunComparison, page: str) -> dict[str, Any]:
    """The methods of several runs on the test split, at the cut-off that variants are chosen by.

    Args:
        compared: the methods.
        page: the file that shows the same.
    """
    methods = [_method(method) for method in compared.methods]
    return {
        "page": page,
        "runs": list(compared.runs),
        "cutoff": SELECTION_CUTOFF,
        "baseline": compared.baseline,
        "chosen": compared.chosen.name,
        "methods": methods,
    }


def _method(method: Method) -> dict[str, Any]:
    result, differences = method.result, {}
    for metric, row in method.differences.items():
        interval = row.interval
        differences[metric] = {
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "p_t_test": row.t_test,
            "p_bootstrap": row.bootstrap,
            "verdict": row.verdict,
        }
    means = {metric: result.cells[metric, SELECTION_CUTOFF].mean for metric in ("ndcg", "recall")}
    return {
        "method": method.name,
        "seeds": result.seeds,
        "valid_ndcg": result.valid_ndcg,
        **means,
        "differences": differences,
        "cost": asdict(method.cost),
    }

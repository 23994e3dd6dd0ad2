"""The end of the demo: a few users, what they bought, what the model wrote about them, and what the service answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape
from rich.table import Table

from hnlm_ray import seeds
from hnlm_ray.cli.console import output
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ResourceError
from hnlm_ray.run.plan import Run

__all__ = ["show"]

_USERS, _ITEMS = 3, 5


@dataclass(frozen=True)
class _Tables:
    users: pa.Table
    titles: list[str]
    interactions: pa.Table
    profiles: pa.Table
    grounded: pa.Table


def show(run: Run, url: str, config: Config) -> None:
    """Ask the running service for recommendations and print them beside what led to them.

    Args:
        run: a finished run.
        url: where the service answers.
        config: the configuration of the run.

    Raises:
        ResourceError: the service does not answer.
    """
    artifacts = run.artifacts()
    prepared = artifacts["prepare"]
    tables = _Tables(
        users=prepared.read("users"),
        titles=prepared.read("items", ["title"])["title"].to_pylist(),
        interactions=prepared.read("interactions", ["user", "item", "split"]),
        profiles=artifacts["user_profiles"].read("user_profiles", ["user", "summary", "status"]),
        grounded=artifacts["ground"].read("grounded"),
    )
    table = Table(
        title="Recommendations, and where they come from", title_justify="left", title_style="bold", show_lines=True
    )
    for column in ("user", "bought", "profile, as the model wrote it", "hard negative → matched to", "recommended"):
        table.add_column(column, overflow="fold")
    with httpx.Client(base_url=url, timeout=30.0) as client:
        for user in _chosen(tables.grounded, config.seed):
            table.add_row(*(escape(cell) for cell in _row(tables, user, client)))
    output.print()
    output.print(table)


def _chosen(grounded: pa.Table, seed: int) -> Sequence[int]:
    """A few users with a matched negative, drawn from the seed."""
    users = np.unique(grounded.filter(pc.equal(grounded["status"], "matched"))["user"].to_numpy())
    rng = seeds.generator(seed, "showcase")
    return [int(user) for user in np.sort(rng.choice(users, min(_USERS, len(users)), replace=False))]


def _row(tables: _Tables, user: int, client: httpx.Client) -> tuple[str, ...]:
    mine = pc.and_(pc.equal(tables.interactions["user"], user), pc.equal(tables.interactions["split"], "train"))
    bought = tables.interactions.filter(mine)["item"].to_pylist()
    profile = tables.profiles.filter(pc.equal(tables.profiles["user"], user))["summary"].to_pylist()
    grounded = tables.grounded.filter(
        pc.and_(pc.equal(tables.grounded["user"], user), pc.equal(tables.grounded["status"], "matched"))
    ).to_pylist()[0]
    user_id = tables.users["user_id"][user].as_py()
    negative = (
        f"{grounded['answer']}\n→ {tables.titles[grounded['negative']]}\n"
        f"({grounded['step']}, {grounded['similarity']:.2f}; near {tables.titles[grounded['item']]})"
    )
    more = f"\n… {len(bought) - _ITEMS} more" if len(bought) > _ITEMS else ""
    return (
        user_id,
        "\n".join(tables.titles[item] for item in bought[-_ITEMS:]) + more,
        profile[0] if profile else "",
        negative,
        _recommended(client, user_id),
    )


def _recommended(client: httpx.Client, user_id: str) -> str:
    try:
        response = client.post("/v1/recommend", json={"user_id": user_id, "k": _ITEMS}).raise_for_status()
    except httpx.HTTPError as error:
        raise ResourceError(f"the service did not answer for {user_id} ({error})", "see the Serve log") from error
    return "\n".join(f"{item['title']}  {item['score']:.2f}" for item in response.json()["items"])

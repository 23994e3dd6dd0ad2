"""The end of the demo: a few users, what they bought, what the model wrote about them, and what the service answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table
from rich.text import Text

from hnlm_ray import seeds
from hnlm_ray.errors import ResourceError
from hnlm_ray.run.store import Artifact

__all__ = ["recommendations"]

_USERS, _ITEMS = 3, 5


def recommendations(artifacts: Mapping[str, Artifact], client: httpx.Client, seed: int) -> Table:
    """Ask the running service for recommendations and set them beside what led to them.

    Args:
        artifacts: the complete artifacts of a run by stage name. The columns of ``user_profiles`` and of ``ground`` are
            there only if the run has these stages.
        client: knows where the service answers.
        seed: decides which users are shown: of those with a matched hard negative, if there are any.

    Raises:
        ResourceError: the service does not answer.
    """
    shown = _Shown(artifacts, client)
    columns: dict[str, Callable[[int], str]] = {"user": shown.user_id, "bought": shown.bought}
    if shown.profiles is not None:
        columns["profile, as the model wrote it"] = shown.profile
    if shown.matched is not None:
        columns["hard negative → matched to"] = shown.negative
    columns["recommended"] = shown.recommended
    table = Table(title="Recommendations, and where they come from", title_justify="left", title_style="bold")
    table.show_lines = True
    for name in columns:
        table.add_column(name, overflow="fold")
    for user in shown.choose(seed):
        table.add_row(*(Text(cell(user)) for cell in columns.values()))
    return table


class _Shown:
    """The tables that the cells of the showcase are read from; a cell is asked for by the user's index."""

    def __init__(self, artifacts: Mapping[str, Artifact], client: httpx.Client) -> None:
        prepared = artifacts["prepare"]
        self.client = client
        self.users = prepared.read("users", ["user_id"])["user_id"]
        self.titles = prepared.read("items", ["title"])["title"].to_pylist()
        interactions = prepared.read("interactions", ["user", "item", "split"])
        self.train = interactions.filter(pc.equal(interactions["split"], "train"))
        self.profiles = self.matched = None
        if "user_profiles" in artifacts:
            self.profiles = artifacts["user_profiles"].read("user_profiles", ["user", "summary"])
        if "ground" in artifacts:
            grounded = artifacts["ground"].read("grounded")
            self.matched = grounded.filter(pc.equal(grounded["status"], "matched"))

    def choose(self, seed: int) -> list[int]:
        """A few users, in order."""
        source = self.train if self.matched is None or not len(self.matched) else self.matched
        users = np.unique(source["user"].to_numpy())
        chosen = seeds.generator(seed, "showcase").choice(users, min(_USERS, len(users)), replace=False)
        return [int(user) for user in np.sort(chosen)]

    def user_id(self, user: int) -> str:
        name: str = self.users[user].as_py()
        return name

    def bought(self, user: int) -> str:
        items = _of(self.train, user)["item"].to_pylist()
        more = [f"… {len(items) - _ITEMS} more"] if len(items) > _ITEMS else []
        return "\n".join([*(self.titles[item] for item in items[-_ITEMS:]), *more])

    def profile(self, user: int) -> str:
        summaries = _of(self.profiles, user)["summary"].to_pylist()
        return summaries[0] if summaries else ""

    def negative(self, user: int) -> str:
        rows = _of(self.matched, user).to_pylist()
        if not rows:
            return ""
        first = rows[0]
        return (
            f"{first['answer']}\n→ {self.titles[first['negative']]}\n"
            f"({first['step']}, {first['similarity']:.2f}; near {self.titles[first['item']]})"
        )

    def recommended(self, user: int) -> str:
        name = self.user_id(user)
        try:
            response = self.client.post("/v1/recommend", json={"user_id": name, "k": _ITEMS}).raise_for_status()
        except httpx.HTTPError as error:
            raise ResourceError(f"the service did not answer for {name} ({error})", "see the Serve log") from error
        return "\n".join(f"{item['title']}  {item['score']:.2f}" for item in response.json()["items"])


def _of(table: pa.Table, user: int) -> pa.Table:
    return table.filter(pc.equal(table["user"], user))

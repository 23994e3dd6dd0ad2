"""``run.json``: what a run folder holds, by the last configuration that it was run with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from hnlm_ray import __version__
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import StoreError
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import Artifact, RunStore

__all__ = ["RECORD", "RunRecord"]

RECORD = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """The last configuration of a run folder and the stages that it asked for.

    Attributes:
        config: as JSON values; another version of the package may have other options.
        artifacts: complete or not, those of the trials of a search left out.
        version: of the package that wrote the record; empty where it does not say.
    """

    config: Mapping[str, Any]
    artifacts: Mapping[StageKey, Artifact]
    version: str = ""

    @classmethod
    def of(cls, config: Config, artifacts: Mapping[StageKey, Artifact]) -> RunRecord:
        """The record of a plan; the stages of the trials of a search are left out."""
        own = {key: artifact for key, artifact in artifacts.items() if key.trial is None}
        return cls(config.model_dump(mode="json"), own, __version__)

    @classmethod
    def read(cls, store: RunStore, path: str) -> RunRecord:
        """The record in a run folder.

        Args:
            store: the folder.
            path: the folder as the user gave it, named in errors.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        text = store.read_text(RECORD)
        if text is None:
            raise StoreError(f"{path} is no run folder, it has no {RECORD}", "give a folder that `hnlm run` wrote")
        try:
            content = json.loads(text)
            if not isinstance(content["config"]["train"]["variants"], dict):
                raise TypeError("train.variants is no section")
            prints = {_key(**stage): stage["fingerprint"] for stage in content["stages"]}
        except (ValueError, KeyError, TypeError) as error:
            action = "start `hnlm run` with its configuration again, which writes it anew"
            raise StoreError(f"{path}/{RECORD} cannot be read ({error!r})", action) from error
        artifacts = {key: store.artifact(key.folder, found) for key, found in prints.items()}
        return cls(content["config"], artifacts, str(content.get("version", "")))

    def configuration(self, path: str) -> Config:
        """The configuration.

        Args:
            path: the run folder as the user gave it, named in errors.

        Raises:
            StoreError: it has options that this version of the package does not know, or values that it refuses.
        """
        try:
            return Config.model_validate(self.config)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            what = f"{where}: {first['msg'].removeprefix('Value error, ')}" if where else first["msg"]
            by = f"hnlm-ray {self.version}" if self.version else "another version"
            raise StoreError(
                f"{path}/{RECORD} was written by {by} and cannot be read by {__version__} ({what})",
                "give its configuration with -c instead of the folder, or start `hnlm run` with it again",
            ) from error

    def write(self, store: RunStore) -> None:
        """Write it into its folder; it appears whole or not at all."""
        stages = [{**key.fields(), "fingerprint": artifact.fingerprint} for key, artifact in self.artifacts.items()]
        content = {"version": self.version, "config": self.config, "stages": stages}
        store.write_text(RECORD, json.dumps(content, indent=2))


def _key(fingerprint: str, **fields: Any) -> StageKey:
    return StageKey(**fields)

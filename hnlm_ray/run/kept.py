"""An earlier run whose teacher and tuned encoder stay as they are while users and items join."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hnlm_ray.config.tree import Config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.store import Artifact, RunStore

__all__ = ["KeptRun"]

_NEEDED = ("prepare", "tune", "encode")


@dataclass(frozen=True)
class KeptRun:
    """Where the parts of the earlier run are.

    Attributes:
        artifacts: complete artefacts by stage: ``prepare``, ``tune``, ``encode`` and the teacher's fit.
        fit: the stage that fitted the teacher.
        variant: its options.
    """

    artifacts: Mapping[str, Artifact]
    fit: str
    variant: VariantConfig

    @classmethod
    def open(cls, path: str) -> KeptRun:
        """The run in a folder.

        Raises:
            ConfigError: it is no run with a tuned encoder, or one that has not come so far.
        """
        store = RunStore(path)
        text = store.read_text("run.json")
        if text is None:
            raise ConfigError(f"tune.keep: {path} is no run folder", "give one that holds run.json")
        content = json.loads(text)
        config = Config.model_validate(content["config"])
        teacher = config.tune.teacher_of(config.train.variants)
        found = {stage["name"]: store.artifact(stage["name"], stage["fingerprint"]) for stage in content["stages"]}
        fit = "" if teacher is None else config.train.first_fit(teacher)
        missing = [name for name in (*_NEEDED, fit) if name not in found or not found[name].is_complete]
        if teacher is None or missing:
            raise ConfigError(
                f"tune.keep: the run {path} has no finished {missing[0] or 'teacher'}", "finish it with --until encode"
            )
        return cls({name: found[name] for name in (*_NEEDED, fit)}, fit, config.train.variants[teacher])

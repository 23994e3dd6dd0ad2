"""An earlier run whose teacher and tuned encoder stay as they are while users and items join."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import ConfigError, StoreError
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.stage import StageKey, first_fit
from hnlm_ray.run.store import Artifact, RunStore

__all__ = ["KeptRun"]

_NEEDED = ("prepare", "tune", "encode")


@dataclass(frozen=True)
class KeptRun:
    """Where the parts of the earlier run are.

    Attributes:
        artifacts: complete artifacts by the name of the stage: ``prepare``, ``tune``, ``encode`` and the teacher's fit.
        fit: the name of the stage that fitted the teacher.
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
        try:
            record = RunRecord.read(RunStore(path), path)
            config = record.configuration(path)
        except StoreError as error:
            raise ConfigError(f"tune.keep: {error.problem}", error.action) from error
        teacher = config.teacher
        fit = None if teacher is None else first_fit(config.train, teacher)
        needed = [*(StageKey(kind) for kind in _NEEDED), *([fit] if fit else [])]
        found = {key.name: record.artifacts[key] for key in needed if key in record.artifacts}
        missing = [key.name for key in needed if key.name not in found or not found[key.name].is_complete]
        if teacher is None or fit is None or missing:
            raise ConfigError(
                f"tune.keep: the run {path} has no finished {missing[0] if missing else 'teacher'}",
                "finish it with --until encode",
            )
        return cls(found, fit.name, config.train.variants[teacher])

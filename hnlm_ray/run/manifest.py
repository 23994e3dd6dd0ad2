"""The manifest of a stage's folder: what the stage did, and size, checksum and rows of every file that it wrote.

A manifest is trusted only as a whole: it holds the digest of its own content, names the stage and fingerprint of its
folder, and comes from the same release series of the package.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hnlm_ray import __version__
from hnlm_ray.run.checksums import Checksum

__all__ = ["MANIFEST", "Manifest", "StageFile"]

MANIFEST = "manifest.json"


class StageFile(Checksum):
    """Size, digest and rows of one file of a stage."""

    rows: int | None = None
    """Of a table; None for other files."""


class Manifest(BaseModel):
    """The content of ``manifest.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    fingerprint: str
    version: str = __version__
    """Of the package."""
    committed: float
    """Seconds since 1970."""
    seconds: float = 0.0
    """That the stage took."""
    rows: dict[str, int] = {}
    """Rows of each table that the stage wrote."""
    counts: dict[str, int | float] = {}
    warnings: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    """Fingerprints of the stages that this one read, by their names."""
    files: dict[str, StageFile]
    """By the path inside the folder."""

    def digest(self) -> str:
        """SHA-256 of all fields."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> bytes:
        """The fields and their digest."""
        return json.dumps({**self.model_dump(), "digest": self.digest()}, indent=2, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """The manifest in a file's content.

        Raises:
            ValueError: it is no manifest, or it was changed after it was written; the message says which.
        """
        try:
            fields = json.loads(content)
            if not isinstance(fields, dict):
                raise ValueError("it is no JSON object")
            expected = fields.pop("digest", None)
            manifest = cls.model_validate(fields)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        if expected != manifest.digest():
            raise ValueError("it was changed after it was written: its digest does not match")
        return manifest

    def misfit(self, stage: str, fingerprint: str) -> str:
        """Why this is not the manifest of a stage's folder; "" where it is."""
        if (self.stage, self.fingerprint) != (stage, fingerprint):
            return f"it is that of {self.stage}/{self.fingerprint}"
        if _series(self.version) != _series(__version__):
            return f"hnlm_ray {self.version} wrote it, and this is {__version__}"
        return ""


def _series(version: str) -> list[Any]:
    """Releases that can read each other's runs have these parts in common."""
    return version.split(".")[:2]

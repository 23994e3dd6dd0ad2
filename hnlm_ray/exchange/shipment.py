"""What is pushed to a hub and pulled from it: the files of a bundle, or of a tuned encoder, each with its checksum."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from pydantic import BaseModel, ConfigDict, ValidationError

from hnlm_ray.errors import BundleError, ConfigError
from hnlm_ray.run.checksums import Checksum, verify
from hnlm_ray.run.manifest import MANIFEST, Manifest
from hnlm_ray.run.places import Folder
from hnlm_ray.serving.bundle.info import INFO, BundleInfo

__all__ = ["LIST", "SPEC", "Shipment", "open_shipment", "read_list", "refuse_other_files"]

LIST = "files.json"
"""Beside a tuned encoder on a hub: the checksums of its files, as ``bundle.json`` has those of a bundle."""

SPEC = "encoder.json"
"""By which a folder is known as that of a tuned encoder."""

_HARMLESS = (".json", ".safetensors", ".parquet", ".txt", ".model")
"""Endings of files that hold numbers, tables and text, and can hold neither code nor a pickle."""

_REBUILD = "make it again with `hnlm run`, or fetch a fresh copy"


class FileList(BaseModel):
    """The content of :data:`LIST`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    kind: str = "encoder"
    figures: dict[str, float]
    """What the tuning measured on its validation pairs."""
    files: dict[str, Checksum]


@dataclass(frozen=True)
class Shipment:
    """Files that belong together, verified.

    Attributes:
        folder: local, with the files.
        files: checksum by path inside the folder; without the file that lists them.
        bundle: what a bundle says about itself; None for an encoder.
        encoder: the content of an encoder's ``encoder.json``; None for a bundle.
        figures: what the tuning of an encoder measured on its validation pairs.
    """

    folder: Path
    files: Mapping[str, Checksum]
    bundle: BundleInfo | None = None
    encoder: Mapping[str, Any] | None = None
    figures: Mapping[str, float] | None = None

    @property
    def listing(self) -> tuple[str, bytes]:
        """Name and content of the file that lists the others."""
        if self.bundle is not None:
            return INFO, (self.folder / INFO).read_bytes()
        return LIST, FileList(figures=dict(self.figures or {}), files=dict(self.files)).model_dump_json(
            indent=2
        ).encode()


@contextlib.contextmanager
def open_shipment(path: str, *, users: bool | None) -> Iterator[Shipment]:
    """A bundle or a tuned encoder, verified; a bundle without its users in a temporary folder.

    Args:
        path: a bundle, a shelf or a run, whose bundle is meant; or the folder of a tuned encoder.
        users: whether a bundle keeps its users; None where nobody has said so.

    Raises:
        BundleError: there is neither, or a file of it is missing or damaged.
        ConfigError: a bundle holds users, and nobody has said whether to keep them.
    """
    from hnlm_ray.serving.bundle.bundle import load_bundle
    from hnlm_ray.serving.bundle.items_only import write_items_only
    from hnlm_ray.serving.bundle.shelf import current_bundle

    if "://" not in path and (encoder := _encoder_folder(Path(path).expanduser())) is not None:
        yield _encoder(encoder)
        return
    bundle = load_bundle(current_bundle(path))
    if bundle.info.users and users is None:
        raise ConfigError(
            f"{path} holds the ids, histories and vectors of {bundle.info.users:,} users",
            "add --without-users to push what it knows of items alone, or --with-users to push all of it",
        )
    if users or not bundle.info.users:
        refuse_other_files(bundle.info.files, path)
        yield Shipment(Path(bundle.folder), bundle.info.files, bundle.info)
        return
    with tempfile.TemporaryDirectory(prefix="hnlm-push-") as folder:
        info = write_items_only(bundle, folder)
        refuse_other_files(info.files, path)
        yield Shipment(Path(folder), info.files, info)


def read_list(folder: Path) -> Shipment:
    """The encoder in a folder that has a :data:`LIST`, verified.

    Raises:
        BundleError: the list is damaged, or a file is missing, damaged, or outside the folder.
    """
    path = folder / LIST
    try:
        listed = FileList.model_validate_json(path.read_bytes())
        spec = json.loads((folder / SPEC).read_text()) if (folder / SPEC).is_file() else None
    except (OSError, ValidationError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise BundleError(f"{path} cannot be understood ({reason})", _REBUILD) from error
    refuse_other_files(listed.files, str(folder))
    if not isinstance(spec, dict) or SPEC not in listed.files:
        raise BundleError(f"{folder} holds no {SPEC}", _REBUILD)
    verify(_local(folder), listed.files, listed_in=LIST, action=_REBUILD, kind=BundleError)
    return Shipment(folder, listed.files, encoder=spec, figures=listed.figures)


def refuse_other_files(names: Iterable[str], where: str) -> None:
    """Refuse files that could hold code or a pickle, or that lie outside their folder.

    Raises:
        BundleError: one of the names is such a file.
    """
    for name in names:
        if "\0" in name or "\\" in name or {"", ".", ".."} & {*name.split("/")}:
            raise BundleError(f"{where} lists {name!a}, which is not inside its folder", "use another source")
        if not name.endswith(_HARMLESS):
            what = f"{where} holds {name}, which is neither numbers nor text as a bundle or an encoder has them"
            raise BundleError(what, "remove it, or use another source")


def _encoder_folder(folder: Path) -> Path | None:
    """The folder of a tuned encoder: this one, or the one in the folder of a stage ``tune``."""
    return next((one for one in (folder, folder / "encoder") if (one / SPEC).is_file()), None)


def _encoder(folder: Path) -> Shipment:
    """An encoder with the checksums of the stage that made it, or of the list beside it."""
    if (folder / LIST).is_file():
        return read_list(folder)
    path = folder.parent / MANIFEST
    try:
        manifest = Manifest.from_json(path.read_bytes())
    except FileNotFoundError as error:
        what = f"{folder} is a tuned encoder without checksums: there is neither {LIST} in it nor {path}"
        raise BundleError(what, "give its folder inside the run that tuned it") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error})", _REBUILD) from error
    prefix = f"{folder.name}/"
    files = {name.removeprefix(prefix): known for name, known in manifest.files.items() if name.startswith(prefix)}
    verify(_local(folder), files, listed_in=MANIFEST, action=_REBUILD, kind=BundleError)
    if SPEC not in files:
        raise BundleError(f"{path} does not list {prefix}{SPEC}", _REBUILD)
    refuse_other_files(files, str(folder))
    figures = {name: float(manifest.counts[name]) for name in _FIGURES if name in manifest.counts}
    plain = {name: Checksum(bytes=known.bytes, sha256=known.sha256) for name, known in files.items()}
    return Shipment(folder, plain, encoder=json.loads((folder / SPEC).read_text()), figures=figures)


_FIGURES = ("valid_loss", "hit_10", "nearer")


def _local(folder: Path) -> Folder:
    return Folder(pafs.LocalFileSystem(), str(folder.absolute()))

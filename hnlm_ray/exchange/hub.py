"""Pushing bundles and tuned encoders to the hub of Hugging Face, and pulling them.

The token is that of ``HF_TOKEN`` or of a login; it is handed to nobody else and never shown. ``HF_ENDPOINT`` names
another hub.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hnlm_ray.config.section import without_credentials
from hnlm_ray.errors import BundleError, ConfigError, ResourceError, StoreError
from hnlm_ray.exchange.shipment import LIST, Shipment, read_list, refuse_other_files
from hnlm_ray.serving.bundle.info import INFO

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["pull", "push"]

_CARD, _OF_GIT = "README.md", ".gitattributes"

Say = Callable[[str], None]


def push(shipment: Shipment, repo: str, card: str, *, private: bool, say: Say) -> str:
    """Upload a shipment and its model card in one commit; files of an earlier one are removed by the same commit.

    Args:
        shipment: verified.
        repo: ``name`` or ``owner/name``; made if it does not exist.
        card: content of its ``README.md``, which is replaced.
        private: whether a repository that is made can be read by its owner alone.
        say: is told what happens.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: there can be no repository of that name.
        ResourceError: the hub cannot be reached or refuses.
        BundleError: the repository holds something else.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    listing, content = shipment.listing
    with _hub_errors(repo, "written"):
        api = _api()
        made = api.create_repo(repo, private=private or None, exist_ok=True)
        found = api.list_repo_files(made.repo_id)
        _require_ours(found, repo)
        operations: list[Any] = [
            CommitOperationAdd(name, str(shipment.folder / name)) for name in shipment.files if name != _CARD
        ]
        operations += [CommitOperationAdd(listing, content), CommitOperationAdd(_CARD, card.encode())]
        kept = {*shipment.files, listing, _CARD, _OF_GIT}
        operations += [CommitOperationDelete(name, is_folder=False) for name in found if name not in kept]
        total = sum(known.bytes for known in shipment.files.values())
        say(f"uploading {len(shipment.files)} files, {total / 1e6:,.1f} MB")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            api.create_commit(made.repo_id, operations, commit_message=f"hnlm push: {_what(shipment)}")
    return str(made)


def pull(repo: str, folder: Path, revision: str | None, say: Say) -> Shipment:
    """Download a bundle or a tuned encoder into a new folder, which appears when every file has been verified.

    Args:
        repo: ``owner/name``.
        folder: must not exist, or be empty.
        revision: a branch, a tag or a commit; None for the newest.
        say: is told what happens.

    Raises:
        ConfigError: there can be no repository of that name.
        ResourceError: the hub cannot be reached, or has no such repository or revision.
        BundleError: the repository holds no bundle and no encoder, holds other files, or a file is damaged.
        StoreError: the folder holds something or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is a file or holds files", "give a folder that does not exist, or is empty")
    staging = folder.absolute().parent / f".{folder.absolute().name}.{uuid.uuid4().hex[:8]}"
    try:
        staging.mkdir(parents=True)
        _download(repo, staging, revision, say)
        shipment = _verified(staging)
        os.replace(staging, folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror})", "give a folder that can be") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Shipment(folder, shipment.files, shipment.bundle, shipment.encoder, shipment.figures)


def _download(repo: str, staging: Path, revision: str | None, say: Say) -> None:
    with _hub_errors(repo, "read"):
        api = _api()
        info = api.model_info(repo, revision=revision)
        found = {one.rfilename for one in info.siblings or ()}
        listing = next((name for name in (INFO, LIST) if name in found), None)
        if listing is None:
            raise BundleError(
                f"{repo} holds no bundle and no tuned encoder", "give a repository that `hnlm push` filled"
            )
        refuse_other_files(found - {_CARD, _OF_GIT}, repo)

        def fetch(name: str) -> None:
            api.hf_hub_download(repo, name, revision=info.sha, local_dir=staging)

        fetch(listing)
        listed = _listed(staging, listing)
        if stray := sorted(found - {listing, _CARD, _OF_GIT, *listed}):
            raise BundleError(f"{repo} holds {stray[0]}, which {listing} does not list", "use another source")
        if lost := sorted({*listed} - found):
            raise BundleError(f"{repo} lacks {lost[0]}, which {listing} lists", "push it again, or use another source")
        say(f"downloading {len(listed)} files of {repo}, commit {str(info.sha)[:12]}")
        for name in sorted({*listed} | (found & {_CARD})):
            fetch(name)
    shutil.rmtree(staging / ".cache", ignore_errors=True)


def _listed(folder: Path, listing: str) -> Collection[str]:
    """The files that a listing names, which are not there yet."""
    from hnlm_ray.exchange.shipment import FileList
    from hnlm_ray.serving.bundle.info import read_info

    if listing == INFO:
        return read_info(str(folder)).files
    try:
        return FileList.model_validate_json((folder / LIST).read_bytes()).files
    except ValueError as error:
        raise BundleError(f"{LIST} cannot be understood", "push it again, or use another source") from error


def _verified(folder: Path) -> Shipment:
    from hnlm_ray.serving.bundle.bundle import load_bundle

    if (folder / INFO).is_file():
        info = load_bundle(str(folder)).info
        return Shipment(folder, info.files, info)
    return read_list(folder)


def _require_ours(found: Collection[str], repo: str) -> None:
    """Refuse to write over a repository of something else."""
    others = sorted({*found} - {_CARD, _OF_GIT})
    if others and INFO not in others and LIST not in others:
        raise BundleError(f"{repo} holds {others[0]} and no bundle or encoder", "give the name of another repository")


def _api() -> HfApi:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    return HfApi(library_name="hnlm-ray")


def _what(shipment: Shipment) -> str:
    return f"bundle {shipment.bundle.version}" if shipment.bundle is not None else "tuned encoder"


@contextlib.contextmanager
def _hub_errors(repo: str, action: str) -> Iterator[None]:
    """Turn what the client of the hub raises into a sentence of ours."""
    from huggingface_hub import constants, errors

    hub = without_credentials(constants.ENDPOINT)
    try:
        yield
    except errors.HFValidationError as error:
        raise ConfigError(f"{repo!a} is no name of a repository", "give one such as somebody/shop") from error
    except errors.RevisionNotFoundError as error:
        raise ResourceError(f"{repo} on {hub} has no such revision", "leave out --revision, or give another") from error
    except errors.HfHubHTTPError as error:
        raise _refused(error, repo, hub, action) from error
    except (errors.OfflineModeIsEnabled, errors.LocalTokenNotFoundError) as error:
        raise ResourceError(
            f"{repo} cannot be {action} ({_reason(error)})", "set HF_TOKEN, unset HF_HUB_OFFLINE"
        ) from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # of the HTTP library that this release uses
        what = f"{hub} cannot be reached, or the connection was lost ({_reason(error)})"
        raise ResourceError(what, "give the same command again when there is a network") from error
    except (RuntimeError, ValueError) as error:  # what the client says of an upload that failed
        raise ResourceError(f"{repo} cannot be {action} ({_reason(error)})", "give the same command again") from error


def _refused(error: Any, repo: str, hub: str, action: str) -> ResourceError:
    from huggingface_hub.errors import RepositoryNotFoundError

    status = error.response.status_code
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return ResourceError(f"{hub} does not accept the token (401)", "set HF_TOKEN, or log in with `hf auth login`")
    if status == 403:
        what = f"{hub} does not let you {'write' if action == 'written' else 'read'} {repo} (403)"
        return ResourceError(what, "use a token that may, or the name of another repository")
    if status in (401, 404):
        return ResourceError(f"{hub} has no {repo} that you may read ({status})", "check the name, and set HF_TOKEN")
    return ResourceError(f"{hub} answers {status} for {repo}", "give the same command again later")


def _reason(error: BaseException) -> str:
    text = str(error.__cause__ or error).strip().partition("\n")[0]
    return without_credentials(text)[:200] or type(error).__name__

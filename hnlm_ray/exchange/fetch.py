"""Fetching one file over HTTP, with pooch: checked against its digest, and going on where a download was cut off.

While it is under way, the file is ``<name>.part``, and ``<name>.part.json`` says of which address and state of the
server's file it is a part. A server that does not have that very state any more sends the file from its beginning.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hnlm_ray.config.section import without_credentials
from hnlm_ray.errors import DataError, HnlmError, StoreError

if TYPE_CHECKING:
    import httpx

__all__ = ["digest_fits", "fetch"]

_ATTEMPTS = 3
"""Times that an address is asked, where each but the last has brought something."""

_TIMEOUT_S, _EVERY_S = 30.0, 5.0

Say = Callable[[str], None]


class _LostError(Exception):
    """The connection failed, or the server refused; the sentence says how."""


def digest_fits(path: Path, digest: str) -> bool:
    """Whether a file has a digest such as ``md5:...`` or ``sha256:...``."""
    import pooch

    return bool(pooch.hashes.hash_matches(str(path), digest))


def fetch(target: Path, addresses: Sequence[str], digest: str | None, say: Say) -> str:
    """Download a file that is not there yet.

    Args:
        target: where to.
        addresses: of the file, tried in this order.
        digest: that it must have; None where none is known.
        say: is told how far it is.

    Returns:
        The address that it came from, without credentials.

    Raises:
        DataError: no address gave it, or what it gave has another digest and was deleted.
        StoreError: the disk is full, or the folder cannot be written.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    problems = []
    for address in addresses:
        registry = pooch.create(
            target.parent, "", registry={target.name: digest}, urls={target.name: address}, allow_updates=False
        )
        try:
            registry.fetch(target.name, downloader=_Resuming(target.with_name(f"{target.name}.part"), say))
        except _LostError as error:
            problems.append(str(error))
        except ValueError:  # pooch has deleted it
            problems.append(f"what {_shown(address)} sent has another digest than {digest}, and was deleted")
        except HnlmError:
            raise
        except OSError as error:
            raise _unwritable(target, error) from error
        else:
            return _shown(address)
    raise DataError(
        f"{target.name} could not be fetched: {'; '.join(problems)}",
        f"where there is no network, put the file into {target.parent} and give the same command",
    )


class _Resuming:
    """A downloader of pooch that keeps what it has when the connection is lost, and goes on from there."""

    def __init__(self, part: Path, say: Say) -> None:
        self._part, self._state, self._say = part, part.with_name(f"{part.name}.json"), say

    def __call__(self, url: str, output_file: str, pooch: object, check_only: bool = False) -> None:
        """Download a file.

        Raises:
            _LostError: the server cannot be reached, refuses, or has cut the connection too often.
        """
        for attempt in range(_ATTEMPTS):
            before = self._bytes()
            try:
                self._attempt(url)
                break
            except _LostError:
                if attempt == _ATTEMPTS - 1 or self._bytes() <= before:
                    raise
                self._say(f"{self._part.stem}: the connection was lost, going on from {_megabytes(self._bytes())}")
                time.sleep(1.0)
        self._state.unlink(missing_ok=True)
        self._part.replace(output_file)

    def _bytes(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _attempt(self, url: str) -> None:
        import httpx

        headers = {"Accept-Encoding": "identity", **self._range(url)}
        with _network_errors(url, self._kept):
            try:
                request = httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_S)
            except (httpx.InvalidURL, ValueError) as error:
                raise _LostError(f"{_shown(url)} is no address ({error})") from error
            with request as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    self._state.unlink(missing_ok=True)  # the next attempt begins anew
                    raise _LostError(f"{_shown(url)} has changed since the download began; give the same command again")
                if response.status_code >= httpx.codes.BAD_REQUEST:
                    raise _LostError(f"{_shown(url)} answers {response.status_code} {response.reason_phrase}".rstrip())
                self._write(url, response)

    def _range(self, url: str) -> dict[str, str]:
        """Headers that ask for the rest, where what is there is a part of the same file."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(self._state.read_text())
            if self._bytes() and state["address"] == _shown(url):
                return {"Range": f"bytes={self._bytes()}-", "If-Range": str(state["validator"])}
        return {}

    def _write(self, url: str, response: httpx.Response) -> None:
        goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {self._bytes()}-"
        )
        done = self._bytes() if goes_on else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        self._require_room(total - done if total is not None else 0)
        if not goes_on:
            self._part.unlink(missing_ok=True)
            self._note(url, response)
        said = time.monotonic()
        with self._part.open("ab") as stream:
            for piece in response.iter_raw():
                stream.write(piece)
                done += len(piece)
                if time.monotonic() - said >= _EVERY_S:
                    said = time.monotonic()
                    self._say(f"{self._part.stem}: {_megabytes(done)}" + (f" of {_megabytes(total)}" if total else ""))

    def _note(self, url: str, response: httpx.Response) -> None:
        """Keep what tells this state of the server's file from another; without that, nothing can be resumed."""
        tag = response.headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        if validator:
            self._state.write_text(json.dumps({"address": _shown(url), "validator": validator}))
        else:
            self._state.unlink(missing_ok=True)

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if needed > free:
            what = f"{self._part.parent} has {_megabytes(free)} free, and {self._part.stem} needs {_megabytes(needed)}"
            raise StoreError(what, "free some, or give another folder")

    def _kept(self) -> str:
        kept = self._state.is_file() and self._bytes()
        return f", {_megabytes(kept)} are kept and the same command goes on from there" if kept else ""


@contextlib.contextmanager
def _network_errors(url: str, kept: Callable[[], str]) -> Iterator[None]:
    import httpx

    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
        raise _LostError(f"{_shown(url)} cannot be reached ({_reason(error)})") from error
    except httpx.HTTPError as error:
        raise _LostError(f"the connection to {_shown(url)} was lost ({_reason(error)}){kept()}") from error


def _reason(error: Any) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _unwritable(target: Path, error: OSError) -> StoreError:
    return StoreError(f"{target} cannot be written ({error.strerror or error})", "give a folder that can be")


def _shown(address: str) -> str:
    return without_credentials(address.partition("?")[0])


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

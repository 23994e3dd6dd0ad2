"""Which hosts a service without a token answers for.

A page of a stranger can make its own name resolve to an address inside the network (DNS rebinding), and then reads, as
a page of the same origin, whatever a service there answers. Its requests still carry that name in the header ``Host``.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
from collections.abc import Iterable

from hnlm_ray.serving.http.refusals import RefusedError

__all__ = ["Hosts"]


class Hosts:
    """The hosts that are answered for: any IP address, which nobody can rebind, ``localhost``, and given names."""

    def __init__(self, names: Iterable[str]) -> None:
        """Answer for names beside these.

        Args:
            names: in any case; ``*`` stands for every host.
        """
        self._names = {"localhost", *(name.lower() for name in names)}
        self._is_known = functools.lru_cache(maxsize=256)(self._look_up)  # nearly all requests carry the same

    def require(self, header: bytes | None) -> None:
        """Check the header ``Host``; none, which no browser leaves out, is fine.

        Raises:
            RefusedError: with status 421, for another host.
        """
        if header is None or "*" in self._names or self._is_known(header):
            return
        sentence = "The header Host names no host of this service: name it in serve.allowed_hosts, or set a token."
        raise RefusedError(421, sentence)

    def _look_up(self, header: bytes) -> bool:
        host = header.decode("latin-1")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        name = name.lower().removesuffix(".")
        if name in self._names or name.endswith(".localhost"):
            return True
        with contextlib.suppress(ValueError):
            if name.startswith("[") and name.endswith("]"):
                return bool(ipaddress.IPv6Address(name[1:-1]))
            return bool(ipaddress.IPv4Address(name))
        return False

"""Look the locked packages up in a source of known vulnerabilities, for ``make audit``.

Exits with 1 if a locked version has a vulnerability that ``audit_accepted.txt`` does not have. Where the source cannot
be reached in time, or knows nothing, it says so in one line and exits with 0: a check must not depend on a network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
LOCKS = ("cpu.lock", "gpu.lock", "dev.lock")
ACCEPTED = FOLDER / "audit_accepted.txt"
PROBE = "jinja2==2.10"
"""Has been known to be vulnerable for years: a source that does not say so says nothing about other packages either."""
PROBE_S, AUDIT_S = 10, 300


class SourceError(Exception):
    """The source gave no answer that can be used."""


def audited(command: str, pins: Sequence[str], seconds: int) -> list[dict[str, Any]]:
    """What pip-audit says of some packages, of which it installs and resolves nothing.

    Args:
        command: its path.
        pins: ``name==version``, each package once.
        seconds: to wait for it.

    Raises:
        SourceError: it did not answer in time, or not with its report.
    """
    options = ["--format", "json", "--progress-spinner", "off", "--no-deps", "--disable-pip", "--timeout", "5"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "pins.txt")
            path.write_text("\n".join(pins), encoding="utf-8")
            called = [command, *options, "--requirement", str(path)]
            done = subprocess.run(called, capture_output=True, text=True, check=False, timeout=seconds)
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"no answer within {seconds} s") from error
    except (ValueError, KeyError, TypeError) as error:
        lines = done.stderr.strip().splitlines()
        raise SourceError(lines[-1][:200] if lines else "pip-audit wrote no report") from error
    return found


def locked() -> Iterator[list[str]]:
    """The pins of each lock that no lock before it has: pip-audit takes no package twice, nor in two versions."""
    seen: set[str] = set()
    for name in LOCKS:
        found = re.findall(
            r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==[^\s;\\]+", (FOLDER / name).read_text(encoding="utf-8"), re.MULTILINE
        )
        pins = [pin for pin in found if pin not in seen]
        seen.update(pins)
        if pins:
            yield pins


def accepted() -> dict[str, str]:
    """Vulnerabilities that do not matter here, each with its reason: lines of an id and words."""
    lines = [line.split(maxsplit=1) for line in ACCEPTED.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {words[0]: words[1] for words in lines if words[0] != "#"}


def main() -> int:
    """The exit status."""
    command = shutil.which("pip-audit")
    if command is None:
        print("audit: skipped, pip-audit is not installed")
        return 0
    try:
        if not any(one.get("vulns") for one in audited(command, [PROBE], PROBE_S)):
            raise SourceError("the source does not know of a package that is known to be vulnerable")
        packages = [one for pins in locked() for one in audited(command, pins, AUDIT_S)]
    except SourceError as error:
        print(f"audit: skipped, no source of advisories can be reached ({error})")
        return 0
    known, problems = accepted(), []
    for one in packages:
        for found in one.get("vulns", ()):
            if not {found["id"], *found.get("aliases", ())} & known.keys():
                fixed = ", ".join(found.get("fix_versions", ())) or "no version yet"
                problems.append(f"{one['name']} {one['version']}: {found['id']}, fixed in {fixed}")
    unknown = sum("skip_reason" in one for one in packages)
    print("\n".join(problems) or f"audit: no known vulnerability in {len(packages) - unknown} packages")
    if unknown:
        print(f"audit: {unknown} packages are not known to the source")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

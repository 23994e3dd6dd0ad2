"""Of what native code writes to standard error, one kind of line is left out."""

from __future__ import annotations

import subprocess
import sys

HARMLESS = (
    "[2026-11-26 20:41:01,291 E 14657 14657] core_worker.cc:2465: Actor with class name: 'MapWorker(MapBatches(F))'"
    " and ID: 'd1' has constructor arguments in the object store and max_restarts > 0. If the arguments ..."
)
REAL = "[2026-11-26 20:41:01,291 E 14657 14657] core_worker.cc:609: :info_message: Attempting to recover 1 lost objects"


def run(body: str) -> tuple[int, list[str]]:
    """Exit code and lines of standard error of a process that runs a body."""
    script = (
        "import os, sys\nfrom hnlm_ray.cluster.native_lines import harmless_lines_left_out\n"
        f"def native(line): os.write(2, (line + chr(10)).encode())\n{body}"
    )
    command = [sys.executable, "-c", script, HARMLESS, REAL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr.splitlines()


def test_a_real_error_passes_and_what_means_nothing_does_not() -> None:
    body = (
        "with harmless_lines_left_out():\n    print('python', file=sys.stderr)\n"
        "    for line in sys.argv[1:]: native(line)\nnative(sys.argv[1])\nprint('after', file=sys.stderr)\n"
    )
    code, lines = run(body)
    assert code == 0
    assert sorted(lines) == sorted(["python", REAL, HARMLESS, "after"])
    assert lines.index(HARMLESS) > lines.index(REAL)  # after the body everything passes


def test_the_last_words_of_a_crash_pass() -> None:
    code, lines = run("with harmless_lines_left_out():\n    native(sys.argv[2])\n    os.abort()\n")
    assert code < 0
    assert lines == [REAL]

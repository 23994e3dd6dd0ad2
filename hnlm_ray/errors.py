"""The errors that a user can cause and fix, in one tree.

::

    HnlmError
    ├── ConfigError      an option: unknown key, wrong type, options that contradict each other
    ├── DataError        raw data or a table: missing file, malformed line, wrong column
    ├── StoreError       the run folder: read-only, full, locked by another run, damaged
    ├── ResourceError    the machine, the cluster, a hub: too few CPUs, a port in use, no GPU, no answer
    ├── EngineError      the language model: missing folder, no tokenizer, endpoint that refuses
    ├── StageError       a stage that ran and whose result must not be used: too many rejected rows
    └── BundleError      a recommender bundle: missing part, checksum that does not match

The command line prints the sentence of an :class:`HnlmError` and exits with code 2; any other exception is a bug and
keeps its traceback.
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "ConfigError",
    "DataError",
    "EngineError",
    "HnlmError",
    "ResourceError",
    "StageError",
    "StoreError",
]


class HnlmError(Exception):
    """One sentence in two clauses: what is wrong, and what to do about it.

    Attributes:
        problem: what was found, naming the file, row, field or option, and what was expected.
        action: what the user should do.
    """

    def __init__(self, problem: str, action: str) -> None:
        self.problem = problem.rstrip(".;: ")
        self.action = action.rstrip(". ")
        super().__init__(self.problem, self.action)

    def __str__(self) -> str:
        return f"{self.problem}; {self.action}."


class ConfigError(HnlmError):
    """An option is unknown, of the wrong type, out of range, or contradicts another."""


class DataError(HnlmError):
    """Raw data or a table does not contain what it should."""


class StoreError(HnlmError):
    """The run folder cannot be read, written or trusted."""


class ResourceError(HnlmError):
    """The machine, the cluster or a hub lacks what is needed, or refuses it."""


class EngineError(HnlmError):
    """A language model cannot be loaded or reached."""


class StageError(HnlmError):
    """A stage ran, and its result must not be used."""


class BundleError(HnlmError):
    """A recommender bundle is incomplete or damaged."""

"""The errors that a user can cause and fix, in one tree.

::

    HnlmError
    ├── ConfigError      an option: unknown key, wrong type, options that contradict each other
    ├── DataError        raw data or a table: missing file, malformed line, wrong column
    ├── StoreError       the run folder: read-only, full, locked by another run, damaged
    ├── ResourceError    the machine, the cluster, a hub: too few CPUs, a port in use, no GPU, no answer
    ├── EngineError      the language model: missing folder, no tokenizer, endpoint that refuses
    ├── StageError       a stage that ran and whose result must not be used: too many rejected rows
    ├── PackageError     a package that comes with an extra of hnlm-ray and is not installed
    └── BundleError      a recommender bundle: missing part, checksum that does not match

The command line prints the sentence of an :class:`HnlmError` and exits with code 2; any other exception is a bug and
keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

__all__ = [
    "EXTRAS",
    "BundleError",
    "ConfigError",
    "DataError",
    "EngineError",
    "HnlmError",
    "PackageError",
    "ResourceError",
    "StageError",
    "StoreError",
    "require",
]


EXTRAS: Mapping[str, Mapping[str, str]] = {
    "report": {"matplotlib": "Matplotlib"},
    "ray": {"ray": "Ray"},
    "serve": {"fastapi": "FastAPI", "prometheus_client": "the Prometheus client", "starlette": "Starlette"},
    "llm": {
        "transformers": "Transformers",
        "tokenizers": "Tokenizers",
        "huggingface_hub": "the client of the Hugging Face hub",
        "rapidfuzz": "RapidFuzz",
    },
    "cpu": {"vllm": "vLLM"},
    "tune": {"deepspeed": "DeepSpeed", "peft": "PEFT"},
    "search": {"optuna": "Optuna"},
    "ann": {"faiss": "Faiss"},
    "tracking": {"mlflow": "MLflow", "tensorboard": "TensorBoard"},
    "wandb": {"wandb": "Weights & Biases"},
}
"""Extra of ``hnlm-ray`` to the modules that come with it, with their names in a sentence, the best known first; what
``cpu`` brings comes with ``gpu`` too, in another build."""


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


class PackageError(HnlmError):
    """A package that comes with an extra of ``hnlm-ray`` is not installed."""

    @classmethod
    def of(cls, who: str, missing: Mapping[str, str]) -> PackageError:
        """The error of whoever lacks packages.

        Args:
            who: what needs them, for example ``"`hnlm run`"``.
            missing: the extra that brings a package, to the package's name.
        """
        names, extras = [*missing.values()], ",".join(missing)
        listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
        verb = "are" if names[1:] else "is"
        cuda = ", or with gpu in place of cpu for CUDA" if "cpu" in missing else ""
        return cls(f"{who} needs {listed}, which {verb} not installed", f"pip install 'hnlm-ray[{extras}]'{cuda}")

    @classmethod
    def about(cls, who: str, extras: Iterable[str]) -> PackageError | None:
        """The error of whoever needs some extras of :data:`EXTRAS`; None where every module of theirs is there."""
        found: dict[str, str] = {}
        for extra in extras:
            absent = [name for module, name in EXTRAS[extra].items() if not _is_installed(module)]
            if absent:
                found[extra] = absent[0]
        return cls.of(who, found) if found else None

    @classmethod
    def behind(cls, who: str, error: ModuleNotFoundError) -> PackageError | None:
        """The error behind a failed import; None if no extra brings the module."""
        module = (error.name or "").partition(".")[0]
        found = {extra: names[module] for extra, names in EXTRAS.items() if module in names}
        return cls.of(who, found) if found else None


def _is_installed(module: str) -> bool:
    """Whether a module can be found; a folder of its name without code, such as Ray's ``/tmp/ray``, is none."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


def require(who: str, *extras: str) -> None:
    """Check that what comes with some extras is installed.

    Args:
        who: what needs it; the error names it.
        extras: keys of :data:`EXTRAS`.

    Raises:
        PackageError: something is not.
    """
    if (error := PackageError.about(who, extras)) is not None:
        raise error

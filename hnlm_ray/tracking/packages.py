"""Which packages trackers need, and which of them are not installed."""

from __future__ import annotations

from importlib.util import find_spec

from hnlm_ray import errors
from hnlm_ray.config.section import without_credentials
from hnlm_ray.config.tracking import TrackingConfig
from hnlm_ray.tracking.mlflow import is_server, uri_of

__all__ = ["EXTRAS", "missing_packages"]

EXTRAS = {module: extra for extra in ("tracking", "wandb") for module in errors.EXTRAS[extra]}
"""Trackers, and the package of the same name that each needs, with the extra of this package that brings it."""

_OF_DATABASES = ("sqlalchemy", "alembic")


def missing_packages(options: TrackingConfig) -> list[str]:
    """A sentence for each tracker that is turned on and lacks a package."""
    wanted = [name for name in EXTRAS if getattr(options, name) is not None]
    found = [
        f"tracking.{name} needs the package {name}, which is not installed; `pip install 'hnlm-ray[{EXTRAS[name]}]'`."
        for name in wanted
        if find_spec(name) is None
    ]
    if not found and options.mlflow is not None and not is_server(uri := uri_of(options.mlflow)):
        missing = [name for name in _OF_DATABASES if find_spec(name) is None]
        if missing:
            found.append(
                f"tracking.mlflow writes to {without_credentials(uri)}, which needs {' and '.join(missing)};"
                " `pip install 'hnlm-ray[tracking]'`, or name a server with tracking.mlflow.uri."
            )
    return found

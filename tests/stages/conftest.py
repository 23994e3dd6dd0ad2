"""Fixtures that the tests of several stages share."""

from __future__ import annotations

import pytest

from tests.stages.language_run import LanguageRun, run_language_stages


@pytest.fixture(scope="session")
def language_run(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> LanguageRun:
    """The five language stages, run once by a script."""
    return run_language_stages(tmp_path_factory.mktemp("language"))

"""Whatever the OpenAPI document allows, and much that it does not, against the application that publishes it.

Schemathesis plays two phases: systematic cases at and beyond every bound of the document, and random ones, of which
``HNLM_FUZZ_CASES=2000`` asks that many for each operation instead of the few that fit into a test run, and tells how
many answers of which status there were. All of its checks are on: no server error; status, content type and schema of
every answer as documented; what the document allows is accepted and what it forbids is refused; other methods get 405
and the header Allow.

Its engine is driven by hand: its pytest plugin (4.32) needs an attribute that pytest 9.2 no longer has.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.serving.http.protocol import ASGI
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend import recommender as recommender_module
from hnlm_ray.serving.recommend.live import Live
from tests.serving.services import StubEncoder, write_rich_bundle

CASES = int(os.environ.get("HNLM_FUZZ_CASES", "40"))


@dataclass
class Result:
    """What came out of all cases."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """By operation."""
    phases: Counter[str] = field(default_factory=Counter)
    """Cases of each phase."""
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{label}: {dict(sorted(counts.items()))}" for label, counts in sorted(self.statuses.items())]
        total = f"{len(self.statuses)} operations, {dict(self.phases)} cases, {len(self.problems)} problems"
        return "\n".join(["", *lines, total, ""])

    def add(self, phase: str, recorder: ScenarioRecorder) -> None:
        for interaction in recorder.interactions.values():
            self.phases[phase] += 1
            self.statuses[recorder.label][interaction.response.status_code if interaction.response else 0] += 1
        for name, checks in recorder.checks.items():
            failures = [one.failure_info.failure for one in checks if one.failure_info is not None]
            request = recorder.cases[name].value.as_curl_command()[:500] if failures else ""
            self.problems += [f"{recorder.label}: {failure}\n{request}" for failure in failures]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGI]:
    """Its bundle, a user and an item are named ``0``, which is what generated requests try first."""
    folder = tmp_path_factory.mktemp("fuzz") / "rich"
    write_rich_bundle(folder)
    options = {"token_env": "HNLM_TEST_TOKEN", "feedback": str(folder.parent / "events"), "feedback_wait_s": 0.001}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommender_module, "TextEncoder", StubEncoder)
        patch.setenv("HNLM_TEST_TOKEN", "for-tests")
        yield web_app(Live.of({"0": str(folder)}), ServiceOptions.model_validate(options))


@pytest.fixture(scope="module")
def result(app: ASGI) -> Result:
    generation = {"max-examples": CASES, "database": "none", "no-shrink": True}
    headers = {"authorization": "Bearer for-tests"}
    config = SchemathesisConfig.from_dict(
        {"seed": 20, "generation": generation, "continue-on-failure": True, "headers": headers}
    )
    result = Result()
    for event in from_schema(schemathesis.openapi.from_asgi("/openapi.json", app, config=config)).execute():
        if isinstance(event, events.ScenarioFinished):
            result.add(event.phase.name.lower(), event.recorder)
        elif isinstance(event, events.NonFatalError):
            result.problems.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return result


@pytest.mark.timeout(3600)
def test_whatever_is_asked_is_answered_as_the_document_says(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    if "HNLM_FUZZ_CASES" in os.environ:
        with capsys.disabled():
            sys.stdout.write(str(result))
    assert not result.problems, f"{len(result.problems)} problems, such as\n" + "\n\n".join(result.problems[:5])


def test_the_cases_reach_into_every_operation(result: Result) -> None:
    """Else nothing was proved: each operation has answered, and refused what it should."""
    assert len(result.statuses) == 19
    assert result.phases["coverage"] > 400
    assert result.phases["fuzzing"] > 8 * CASES  # most operations take something that can be varied
    for label, counts in result.statuses.items():
        assert counts[200], label
        assert counts[405], label
        if label.startswith("POST"):
            assert counts[400] + counts[422] > 10, label
            assert counts[404] or label.endswith("feedback"), label

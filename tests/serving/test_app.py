from __future__ import annotations

from typing import Any

import pytest

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.errors import ConfigError
from hnlm_ray.serving.app import build
from hnlm_ray.serving.http.guard import MAX_DELAYED_REFUSALS, token_of


def test_the_queue_is_bounded_and_a_full_one_says_so() -> None:
    args = {"bundles": {"a": {"path": "b"}}, "replicas": 2, "max_ongoing_requests": 5, "refusal_pause_s": 0.25}
    deployment = build(args)._bound_deployment
    assert deployment.num_replicas == 2
    # Those at work and those whose refusal waits: were Ray Serve's bound nearer, it would refuse them at once.
    assert deployment.max_ongoing_requests == 5 + MAX_DELAYED_REFUSALS
    assert deployment.max_queued_requests == 5
    backpressure = deployment._deployment_config.backpressure_config
    assert (backpressure.status_code, backpressure.retry_after_s) == (503, 1.0)


def test_replicas_come_and_go_where_more_are_allowed() -> None:
    application = build({"bundles": {"a": {"path": "b"}}, "replicas": 2, "max_replicas": 5, "max_ongoing_requests": 20})
    scaling = application._bound_deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 5, 10)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "no bundles"),
        ({"bundles": {}}, "no bundles"),
        ({"bundles": {"a": {"path": "b"}}, "replica": 2}, "replica: Extra inputs"),
        ({"bundles": {"a": {"path": "b"}}, "replicas": 0}, "replicas: Input should be greater"),
        ({"bundles": {"a": {"path": "b", "shares": 1}}}, "bundles.a.shares: Extra inputs"),
        ({"bundles": {"../a": {"path": "b"}}}, "String should match pattern"),
        ({"bundles": {"a": {"path": "b", "shadow": True, "share": 0.5}}}, "a shadow answers nobody"),
    ],
)
def test_wrong_arguments_of_a_serve_config_are_refused(args: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(args)


def test_the_token_comes_from_the_environment_and_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ServiceOptions(token_env="HNLM_TEST_TOKEN")
    with pytest.raises(ConfigError, match="HNLM_TEST_TOKEN is not set"):
        token_of(options)
    monkeypatch.setenv("HNLM_TEST_TOKEN", "secret")
    assert token_of(options) == "secret"
    assert "secret" not in options.model_dump_json()

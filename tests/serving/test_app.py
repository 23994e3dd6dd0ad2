from __future__ import annotations

from typing import Any

import pytest

from hnlm_ray.errors import ConfigError
from hnlm_ray.serving.app import build


def test_the_queue_is_bounded_and_a_full_one_says_so() -> None:
    application = build({"bundle": "b", "replicas": 2, "max_ongoing_requests": 5, "max_queued_requests": 6})
    deployment = application._bound_deployment
    assert deployment.num_replicas == 2
    assert deployment.max_ongoing_requests == 5
    assert deployment.max_queued_requests == 6
    assert deployment._deployment_config.backpressure_config.status_code == 429


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "bundle: Field required"),
        ({"bundle": "b", "replica": 2}, "replica: Extra inputs"),
        ({"bundle": "b", "replicas": 0}, "replicas: Input should be greater"),
    ],
)
def test_wrong_arguments_of_a_serve_config_are_refused(args: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(args)

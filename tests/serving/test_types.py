from __future__ import annotations

import pytest
from pydantic import ValidationError

from hnlm_ray.config import ServeConfig
from hnlm_ray.serving.types import RecommendRequest, ServiceArgs, request_type


def test_the_default_k_never_exceeds_the_bound() -> None:
    assert request_type(3)(user_id="u").k == 3
    assert request_type(50)(user_id="u").k == 10


def test_the_bound_is_in_the_schema_and_holds() -> None:
    bounded = request_type(50)
    assert bounded.model_json_schema()["properties"]["k"]["maximum"] == 50
    assert bounded(user_id="u", k=50).k == 50
    with pytest.raises(ValidationError):
        bounded(user_id="u", k=51)
    assert issubclass(bounded, RecommendRequest)


def test_service_args_take_over_the_configuration() -> None:
    args = ServiceArgs.of("b", ServeConfig(replicas=3, max_k=7, max_ongoing_requests=5, max_queued_requests=6))
    assert args == ServiceArgs(bundle="b", replicas=3, max_k=7, max_ongoing_requests=5, max_queued_requests=6)

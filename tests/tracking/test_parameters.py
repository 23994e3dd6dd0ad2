"""Options as parameters: flat, and without secrets."""

from __future__ import annotations

import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.tracking.parameters import MASK, parameters_of


def test_options_are_flat_text() -> None:
    found = parameters_of({"a": {"b": 1, "c": None, "d": {}}, "e": [1, 2], "f": [{"g": True}, {"g": "x"}], "h": "text"})
    assert found == {"a.b": "1", "a.c": "null", "e": "[1, 2]", "f.0.g": "true", "f.1.g": "x", "h": "text"}


@pytest.mark.parametrize("name", ["api_key", "apiKey", "token", "HF_TOKEN", "password", "client-secret", "credentials"])
def test_a_secret_is_masked_wherever_it_stands(name: str) -> None:
    for tree in ({name: "abc"}, {"options": {"deep": [{name: "abc"}]}}, {name: {"user": "abc"}}, {name: ["abc"]}):
        found = parameters_of(tree)
        assert "abc" not in str(found)
        assert MASK in found.values()


def test_what_only_sounds_like_a_secret_is_kept() -> None:
    options = {"api_key_env": "MY_KEY", "max_tokens": 5, "token": None, "tokens": 7, "keep": "x", "token_env": "T"}
    assert MASK not in parameters_of(options).values()


def test_credentials_in_an_address_are_left_out() -> None:
    assert parameters_of({"extra": {"url": "http://me:abc@host/x"}}) == {"extra.url": "http://host/x"}


def test_a_whole_configuration_has_no_key_that_was_given_to_an_engine() -> None:
    config = load_config([], ["llm.http.extra_body={api_key: very-secret}", "llm.engine=http"])
    found = parameters_of(config.model_dump(mode="json"))
    assert found["llm.http.extra_body.api_key"] == MASK
    assert found["train.variants.dns.sampler.candidates"] == "8"
    assert "very-secret" not in str(found)

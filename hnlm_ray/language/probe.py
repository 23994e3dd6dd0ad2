"""One quick look at an endpoint before anything is spent: does it answer, take the key, and have the model?"""

from __future__ import annotations

import time

import httpx

from hnlm_ray.config.language import LLMConfig
from hnlm_ray.errors import EngineError
from hnlm_ray.language.engines.chat import message_of
from hnlm_ray.language.engines.endpoint import headers, route
from hnlm_ray.language.engines.http import api_key
from hnlm_ray.language.prompts.quoting import clip, neutral
from hnlm_ray.language.prompts.unwrapping import load_json

__all__ = ["check_endpoint"]

_TIMEOUT_S = 5.0
_MOST_BYTES = 2**22
_NAMED = 8
"""Models that a sentence names."""
_ABSENT = (404, 405, 501)


def check_endpoint(llm: LLMConfig) -> list[str]:
    """What would keep the endpoint of ``llm.http`` from answering, one sentence per problem.

    Asks for the list of models, and where there is none, sends a request without content to the route for chat. No
    text is generated.
    """
    base = llm.http.url.partition("?")[0]
    try:
        key = api_key(llm)
        with httpx.Client(headers=headers(key), timeout=min(_TIMEOUT_S, llm.http.timeout_s)) as client:
            status, content = _asked(client, "GET", route(llm.http.url, "models"))
            if status in _ABSENT:
                return _without_list(client, llm.http.url)
    except EngineError as error:
        return [str(error)]
    except (httpx.HTTPError, OSError) as error:
        reason = type(error).__name__
        return [f"llm.http.url: {base}/models does not answer ({reason}); start the server or fix the address."]
    said = message_of(content)[0].replace(key, "***")
    return _list_problems(llm.model, f"llm.http.url: {base}/models", status, content, said)


def _list_problems(model: str, where: str, status: int, content: bytes, said: str) -> list[str]:
    """The problems that show in an answer with a list of models, or instead of one."""
    quoted = f"HTTP {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        return [f"{where} refuses the key ({quoted}); see llm.http.api_key_env."]
    if status != httpx.codes.OK:
        return [f"{where} answers {quoted}; fix the address, or wait for the server."]
    try:
        return _model_problems(model, _models(load_json(content)))
    except ValueError:
        return [f"{where} gives no list of models; give the base address of the API, with /v1."]


def _asked(client: httpx.Client, method: str, url: httpx.URL) -> tuple[int, bytes]:
    """Status and at most the first bytes of the body of a request.

    Raises:
        httpx.HTTPError: there is no answer in time.
    """
    content, deadline = b"", time.monotonic() + _TIMEOUT_S
    with client.stream(method, url, json={} if method == "POST" else None) as response:
        for part in response.iter_raw():
            content += part
            if len(content) > _MOST_BYTES:
                break
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the whole answer took too long")
    return response.status_code, content


def _without_list(client: httpx.Client, base: str) -> list[str]:
    """The problems of a server that has no list of models: either the address is wrong, or it need not have one."""
    shown = base.partition("?")[0]
    if not route(base, "").path.rstrip("/").endswith("/v1"):
        status, _ = _asked(client, "GET", route(base, "v1/models"))
        if status not in _ABSENT:
            return [f"llm.http.url: {shown} is not the base address; add /v1: {shown.rstrip('/')}/v1."]
    status, _ = _asked(client, "POST", route(base, "chat/completions"))
    if status in _ABSENT:
        action = "give the base address of the API, which mostly ends in /v1"
        return [f"llm.http.url: {shown} has neither /models nor /chat/completions (HTTP {status}); {action}."]
    return []


def _models(body: object) -> list[str]:
    """Names of the models of a list.

    Raises:
        ValueError: it is none.
    """
    entries = body.get("data") if isinstance(body, dict) else body
    if entries is None and isinstance(body, dict):
        entries = body.get("models")
    if not isinstance(entries, list):
        raise ValueError("no list")
    names = [entry.get("id") or entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [name for name in names if isinstance(name, str)]


def _model_problems(model: str, models: list[str]) -> list[str]:
    """Servers may accept other names for a model, but not one that they do not list at all."""
    if not models or {model, f"{model}:latest"} & set(models):
        return []
    near = sorted(models, key=lambda name: (model.casefold() not in name.casefold(), name))[:_NAMED]
    listed = ", ".join(clip(neutral(name), 80) for name in near)
    more = f" and {len(models) - _NAMED} more" if len(models) > _NAMED else ""
    return [f"llm.model: the endpoint has no model {model}; it lists {listed}{more}."]

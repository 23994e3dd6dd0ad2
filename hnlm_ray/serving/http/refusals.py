"""Refusals of requests, as one sentence that never repeats a value: it may be huge, secret, or impossible to encode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

__all__ = ["RefusedError", "apology", "install_refusals", "parsed", "refusal"]

_SHOWN_PROBLEMS = 3
_Model = TypeVar("_Model", bound=BaseModel)


class RefusedError(Exception):
    """A request that is answered with a status and one sentence."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.sentence, self.headers = status, sentence, headers
        super().__init__(sentence)


def parsed(model: type[_Model], body: bytes) -> _Model:
    """The body of a request, validated.

    Raises:
        RefusedError: the body is not JSON, or does not fit the model.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    is_json = problems[0]["type"] != "json_invalid"
    raise RefusedError(422 if is_json else 400, _sentences(problems, sorted(model.model_fields)))


def install_refusals(app: FastAPI) -> None:
    """Let an application answer every error in this form."""
    app.add_exception_handler(RefusedError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_parameter)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(Exception, _apologise)  # a bug: the server gets it as well and logs it


def refusal(error: RefusedError) -> Response:
    """The answer to a refused request."""
    return JSONResponse({"error": error.sentence}, error.status, error.headers)


async def _refuse(_: Request, error: Any) -> Response:
    return refusal(error)


async def _refuse_parameter(_: Request, error: Any) -> Response:
    # The first part of a location is the kind of the parameter.
    problems = [{**one, "loc": one["loc"][1:]} for one in error.errors()]
    return refusal(RefusedError(422, _sentences(problems, [])))


async def _refuse_route(request: Request, error: Any) -> Response:
    reasons = {
        404: f"There is no page {request.url.path[:80]!a}, see /docs.",
        405: f"{request.method} is not allowed here, see /docs.",
    }
    sentence = reasons.get(error.status_code, f"{error.detail}.")
    return refusal(RefusedError(error.status_code, sentence, error.headers))


def apology() -> Response:
    """The answer to a request that failed because of a bug."""
    return refusal(RefusedError(500, "Something went wrong in the service, its log has the reason."))


async def _apologise(_: Request, __: Any) -> Response:
    return apology()


def _sentences(problems: Sequence[Any], known: Sequence[str]) -> str:
    shown = [_sentence(problem, known) for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        shown.append(f"{len(problems) - _SHOWN_PROBLEMS} further problems")
    return "; ".join(shown) + "."


def _sentence(problem: dict[str, Any], known: Sequence[str]) -> str:
    """One clause about one problem that pydantic found."""
    if problem["type"] == "json_invalid":
        return "The body is not valid JSON"
    if not problem["loc"]:
        return 'The body must be a JSON object such as {"user_id": "42", "k": 10}'
    field, is_inner = _field(problem["loc"])
    if problem["type"] == "missing":
        return f"The field {field} is missing"
    if problem["type"] == "extra_forbidden":
        there = "see /docs" if is_inner else f"there are {', '.join(map(repr, known))}"
        return f"The field {field} is unknown, {there}"
    return f"The field {field} is refused: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _field(place: Sequence[int | str]) -> tuple[str, bool]:
    """The name of a field, and whether it is one of an object in a list, such as ``'events[3].user_id'``."""
    match place:
        case [str(outer), int(number), str(inner), *_]:
            return ascii(f"{outer[:40]}[{number}].{inner[:40]}"), True
        case _:
            return ascii(str(place[0])[:40]), False

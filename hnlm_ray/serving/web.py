"""The HTTP interface as a FastAPI application over any recommender; knows nothing of Ray.

Run it under Ray Serve with :mod:`hnlm_ray.serving.app`, or under any ASGI server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from hnlm_ray.serving.recommender import Recommender
from hnlm_ray.serving.types import ErrorAnswer, HealthAnswer, RecommendAnswer, RecommendRequest, request_type

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

__all__ = ["web_app"]

_SHOWN_PROBLEMS = 3


def web_app(recommender: Recommender, max_k: int) -> FastAPI:
    """The routes: ``POST /v1/recommend``, ``GET /health``, and OpenAPI at ``/docs`` and ``/openapi.json``.

    Args:
        recommender: what answers.
        max_k: largest ``k`` that a request may ask for.
    """
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    info = recommender.info
    app = FastAPI(
        title="hnlm-ray recommendations",
        version=info.version,
        description=f"Bundle {info.version}: {info.about.variant} on {info.about.data}.",
        exception_handlers={RequestValidationError: _refuse_body, HTTPException: _refuse_route},
    )
    refusals: dict[int | str, dict[str, Any]] = {
        400: {"model": ErrorAnswer, "description": "The body is not JSON."},
        422: {"model": ErrorAnswer, "description": "A field is missing, unknown, or out of range."},
    }
    app.post("/v1/recommend", response_model=RecommendAnswer, responses=refusals)(_recommend(recommender, max_k))
    app.get("/health", response_model=HealthAnswer)(_health(recommender))
    return app


def _recommend(recommender: Recommender, max_k: int) -> Callable[..., Awaitable[Response]]:
    from fastapi.responses import JSONResponse

    async def recommend(body: RecommendRequest) -> JSONResponse:
        """Recommend items that the user has not met; popular ones where the user is unknown."""
        answer = recommender.recommend(body.user_id, body.k)
        items = [{"item_id": item.item_id, "title": item.title, "score": item.score} for item in answer.items]
        # A ready response skips a second validation of every item.
        return JSONResponse(
            {
                "user_id": body.user_id,
                "items": items,
                "source": answer.source,
                "bundle_version": answer.bundle_version,
            }
        )

    # FastAPI reads the type of the body here, and the bound on k is known only now.
    recommend.__annotations__["body"] = request_type(max_k)
    return recommend


def _health(recommender: Recommender) -> Callable[[], Awaitable[HealthAnswer]]:
    async def health() -> HealthAnswer:
        """Whether the service can answer, and from which bundle."""
        info = recommender.info
        return HealthAnswer(
            status="ok",
            bundle_version=info.version,
            data=info.about.data,
            variant=info.about.variant,
            users=info.users,
            items=info.items,
        )

    return health


async def _refuse_body(_: Request, error: Any) -> Response:
    from fastapi.responses import JSONResponse

    problems: Sequence[dict[str, Any]] = error.errors()
    status = 400 if problems[0]["type"] == "json_invalid" else 422
    shown = [_sentence(problem) for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        shown.append(f"{len(problems) - _SHOWN_PROBLEMS} further problems")
    return JSONResponse({"error": "; ".join(shown) + "."}, status_code=status)


async def _refuse_route(request: Request, error: Any) -> Response:
    from fastapi.responses import JSONResponse

    reasons = {
        404: f"There is no page {request.url.path[:80]!a}, see /docs",
        405: f"{request.method} is not allowed on {request.url.path}, see /docs",
    }
    sentence = reasons.get(error.status_code, error.detail)
    return JSONResponse({"error": f"{sentence}."}, status_code=error.status_code, headers=error.headers)


def _sentence(problem: dict[str, Any]) -> str:
    """One clause; the value sent is never repeated, as it may be huge, secret, or not encodable."""
    if problem["type"] == "json_invalid":
        return "The body is not valid JSON"
    if len(problem["loc"]) < 2:
        return 'The body must be a JSON object such as {"user_id": "42", "k": 10}, sent as application/json'
    field = ascii(str(problem["loc"][1])[:40])
    if problem["type"] == "missing":
        return f"The field {field} is missing"
    if problem["type"] == "extra_forbidden":
        return f"The field {field} is unknown, there are {', '.join(map(repr, RecommendRequest.model_fields))}"
    return f"The field {field} is refused: {problem['msg'][0].lower()}{problem['msg'][1:]}"

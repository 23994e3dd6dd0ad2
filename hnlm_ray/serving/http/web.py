"""The HTTP interface as an ASGI application over the bundles of a process, without Ray.

:mod:`hnlm_ray.serving.app` runs it under Ray Serve; any other ASGI server can run it, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from hnlm_ray import __version__
from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.serving.http import types
from hnlm_ray.serving.http.feedback import Event, EventLog, FeedbackAnswer, FeedbackRequest
from hnlm_ray.serving.http.guard import Guard, token_of
from hnlm_ray.serving.http.last_word import LastWord
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.protocol import ASGI
from hnlm_ray.serving.http.reference import REFERENCE_POLICY, reference_page
from hnlm_ray.serving.http.refusals import install_refusals
from hnlm_ray.serving.http.routes import Routes
from hnlm_ray.serving.http.shortcut import Shortcut
from hnlm_ray.serving.recommend.live import Live

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["web_app"]

_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_SCRIPTS = ("elements", "api", "address", "pair", "results", "person", "visitor", "sheet", "controls")
"""Files of the page's script, in the order in which they run."""


def web_app(
    live: Live, options: ServiceOptions | None = None, meters: Meters | None = None, *, sends_request_id: bool = True
) -> ASGI:
    """The page at ``/``, the routes under ``/v1``, probes, metrics, and OpenAPI at ``/docs`` and ``/openapi.json``.

    While the application runs, it watches the shelves of ``live``.

    Args:
        live: the bundles, loaded; those that ``options`` name are not looked at.
        options: of the service; by default all defaults.
        meters: metrics that are counted; by default new ones.
        sends_request_id: whether answers carry ``x-request-id``; Ray Serve adds the header itself.

    Raises:
        ConfigError: the environment variable of the token is not set.
        StoreError: nothing can be written to the folder for feedback.
    """
    from fastapi.middleware.cors import CORSMiddleware

    options, meters = options or ServiceOptions(), meters or Meters()
    for served in live:
        meters.set_version(served.name, served.version)
    live.on_reload = meters.count_reload
    events = None if options.feedback is None else EventLog(options.feedback, options.feedback_wait_s, meters)
    routes = Routes(live, options, meters, events)
    shortcut = Shortcut(_routed(routes, live, options, events), "/v1/recommend", routes.recommend)
    guarded: ASGI = Guard(shortcut, meters, options, token_of(options), sends_request_id=sends_request_id)
    if options.cors_origins:  # outside the guard: browsers send a first request without the token
        headers = ["authorization", "content-type"]
        guarded = CORSMiddleware(
            guarded, allow_origins=options.cors_origins, allow_methods=["GET", "POST"], allow_headers=headers
        )
    return guarded


def _routed(routes: Routes, live: Live, options: ServiceOptions, events: EventLog | None) -> FastAPI:
    from fastapi import FastAPI

    @contextlib.asynccontextmanager
    async def watching(_: FastAPI) -> AsyncIterator[None]:
        live.watch(options.watch_s)
        try:
            yield
        finally:
            live.stop()
            if events is not None:
                await events.close()

    app = FastAPI(
        title="hnlm-ray recommendations",
        version=__version__,
        description="Recommendations from bundles. Every answer names the bundle that it comes from.",
        docs_url=None,  # the framework's own pages load scripts from a public network
        redoc_url=None,
        lifespan=watching,
    )
    install_refusals(app)
    for path, function, request, answer in (
        ("recommend", routes.recommend, types.RecommendRequest, types.RecommendAnswer),
        ("recommend:batch", routes.recommend_batch, types.BatchRequest, types.BatchAnswer),
        ("fold-in", routes.fold_in, types.FoldInRequest, types.RecommendAnswer),
        ("profile", routes.profile, types.ProfileRequest, types.RecommendAnswer),
        ("similar-items", routes.similar_items, types.SimilarRequest, types.SimilarAnswer),
        ("score", routes.score, types.ScoreRequest, types.ScoreAnswer),
        ("explain", routes.explain, types.ExplainRequest, types.ExplainAnswer),
    ):
        refusals = _refusals(400, 401, 404, 408, 409, 413, 415, 421, 422, 503)
        extra = _with_body(routes.schema_of(request))
        app.post(f"/v1/{path}", response_model=answer, responses=refusals, openapi_extra=extra)(function)
    _add_feedback(app, routes, is_shown=events is not None)
    _add_lookups(app, routes)
    _add_operations(app, routes)
    _bound_items(app.openapi()["paths"], options.max_k)
    if events is not None:
        app.openapi()["components"]["schemas"]["Event"] = Event.model_json_schema()
    _add_pages(app, options)
    return app


def _with_body(schema: dict[str, Any]) -> dict[str, Any]:
    """The description of a body. A route validates its own: the framework would take longer than the recommendation."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _add_feedback(app: FastAPI, routes: Routes, *, is_shown: bool) -> None:
    """The route for feedback; a service that takes none says so there, and does not describe it."""
    route = app.post(
        "/v1/feedback",
        response_model=FeedbackAnswer,
        responses=_refusals(400, 401, 408, 413, 415, 421, 422, 503),
        openapi_extra=_with_body(routes.schema_of(FeedbackRequest)),
        include_in_schema=is_shown,
    )
    route(routes.feedback)


def _bound_items(paths: dict[str, Any], most: int) -> None:
    """Say in the description of routes that take ``k`` in their address how many items this service gives."""
    for methods in paths.values():
        for parameter in methods.get("get", {}).get("parameters", ()):
            if parameter["name"] == "k":
                parameter["schema"] |= {"maximum": most, "default": min(parameter["schema"]["default"], most)}


def _add_lookups(app: FastAPI, routes: Routes) -> None:
    not_found = _refusals(401, 404, 421, 422, 503)
    app.get("/v1/users", response_model=types.UsersAnswer, responses=not_found)(routes.users)
    # Before the next one, in whose path everything may stand.
    app.router.add_api_route(
        "/v1/users/{user_id:path}/recommendations",
        routes.recommendations,
        methods=["GET"],
        response_model=types.RecommendAnswer,
        responses=_refusals(401, 404, 409, 421, 422, 503),
        route_class_override=LastWord,
    )
    app.get("/v1/users/{user_id:path}", response_model=types.UserAnswer, responses=not_found)(routes.user)
    app.get("/v1/items", response_model=types.ItemsAnswer, responses=not_found)(routes.items)
    app.get("/v1/items/{item_id:path}", response_model=types.ItemAnswer, responses=not_found)(routes.item)
    app.get("/v1/categories", response_model=types.CategoriesAnswer, responses=not_found)(routes.categories)
    app.get("/v1/bundles", response_model=types.BundlesAnswer)(routes.bundles)


def _add_operations(app: FastAPI, routes: Routes) -> None:
    from fastapi.responses import PlainTextResponse

    app.get("/v1/health", response_model=types.HealthAnswer)(routes.health)
    app.get("/v1/ready", response_model=types.HealthAnswer)(routes.ready)
    app.get("/v1/version", response_model=types.VersionAnswer)(routes.version)
    app.get("/metrics", response_class=PlainTextResponse)(routes.metrics)
    # Where probes usually look.
    app.get("/health", include_in_schema=False)(routes.health)
    app.get("/ready", include_in_schema=False)(routes.ready)


def _add_pages(app: FastAPI, options: ServiceOptions) -> None:
    """The web page and the description of the interface, once all routes are there."""
    from fastapi.responses import HTMLResponse

    page, reference = _page(), reference_page(app.openapi(), options.token_env)

    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": _PAGE_POLICY})

    async def describe(request: Request) -> HTMLResponse:
        return HTMLResponse(reference(str(request.base_url)), headers={"content-security-policy": REFERENCE_POLICY})

    app.get("/", include_in_schema=False)(show)
    app.get("/docs", include_in_schema=False)(describe)


def _page() -> str:
    """The web page as one document: its style and its script, one module in several files, are inlined."""
    folder = files("hnlm_ray.serving.http").joinpath("page")
    script = "\n".join(folder.joinpath(f"{name}.js").read_text() for name in _SCRIPTS)
    page = folder.joinpath("page.html").read_text()
    page = page.replace("<style></style>", f"<style>\n{folder.joinpath('page.css').read_text()}</style>")
    return page.replace('<script type="module"></script>', f'<script type="module">\n{script}</script>')


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    reasons = {
        400: "The body is not JSON.",
        401: "The token is missing or wrong.",
        404: "There is no such user, item or bundle.",
        408: "The body did not arrive in time.",
        409: "The bundle cannot do that.",
        413: "The body is too large.",
        415: "The header Content-Type does not say that the body is JSON.",
        421: "The header Host names no host of this service, which has no token.",
        422: "A field is missing, unknown, or out of range.",
        503: "Too busy; the header Retry-After says when to try again.",
    }
    return {status: {"model": types.ErrorAnswer, "description": reasons[status]} for status in statuses}

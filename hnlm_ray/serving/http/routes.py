"""The routes of the HTTP interface: each checks a request, calls the recommender, and answers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hnlm_ray import __version__
from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.serving.http import answers, types
from hnlm_ray.serving.http.batcher import Batcher
from hnlm_ray.serving.http.feedback import EventLog, FeedbackRequest
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.refusals import RefusedError, parsed
from hnlm_ray.serving.recommend.catalogue import UnknownCategoryError
from hnlm_ray.serving.recommend.explanation import NothingUnseenError
from hnlm_ray.serving.recommend.live import Live, Served, UnknownBundleError
from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.serving.recommend.results import Ranking

__all__ = ["Routes", "json_answer"]

_log = logging.getLogger("hnlm_ray.serving")

_Model = TypeVar("_Model", bound=BaseModel)
_Result = TypeVar("_Result")

_JSON = re.compile(r"\s*application/([\w!#$&^.+-]+\+)?json\s*(;.*)?", re.ASCII | re.IGNORECASE)
"""Types of a body that is JSON; what follows a semicolon is a parameter."""

_LONG_JOBS_AT_ONCE = 2
_MOST_ITEMS = 200_000
"""Bound on the items in the answer to one batch, about 20 MB of JSON."""


Bundle = Annotated[str | None, Query(max_length=64, description="Name of a bundle; else the user's own.")]
Words = Annotated[str, Query(max_length=256)]
Few = Annotated[int, Query(ge=1, le=100)]
UserId = Annotated[types.Id, Path(description="The user's id as in the raw data; an unknown user gets popular items.")]
Items = Annotated[int, Query(ge=1, description="Number of items.")]
Names = Annotated[
    tuple[types.Id, ...], Query(max_length=types.MOST_CATEGORIES, description="Allow only items of one of these.")
]


def json_answer(content: Any) -> Response:
    """An answer as JSON, without a second check of its content."""
    return Response(to_json(content), media_type="application/json")


class Routes:
    """The functions behind the routes, over the bundles of one process."""

    def __init__(self, live: Live, options: ServiceOptions, meters: Meters, events: EventLog | None = None) -> None:
        self._live, self._options, self._meters, self._events = live, options, meters, events
        self._batcher = Batcher(meters.batches.observe)
        self._long_jobs = ThreadPoolExecutor(_LONG_JOBS_AT_ONCE, thread_name_prefix="long-job")
        self._shadow_jobs: set[asyncio.Task[None]] = set()

    def schema_of(self, request: type[BaseModel]) -> dict[str, Any]:
        """The JSON schema of a body, with the bound on ``k`` of this service."""
        schema = request.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        if "k" in schema["properties"]:
            most = self._options.max_k
            schema["properties"]["k"] |= {"maximum": most, "default": min(schema["properties"]["k"]["default"], most)}
        return schema

    async def recommend(self, request: Request, bundle: Bundle = None) -> Response:
        """Recommend items to a user."""
        return await self._recommend(request, await self._body(types.RecommendRequest, request), bundle)

    async def recommendations(
        self, request: Request, user_id: UserId, k: Items = 10, exclude_seen: bool = True, available_only: bool = True,
        categories: Names = (), bundle: Bundle = None,
    ) -> Response:  # fmt: skip
        """The same for a client that reads: what most requests ask for, in the address."""
        asked: dict[str, Any] = {"user_id": user_id, "exclude_seen": exclude_seen, "available_only": available_only}
        asked |= {"categories": list(categories)} | ({"k": k} if "k" in request.query_params else {})
        return await self._recommend(request, self._checked(types.RecommendRequest, to_json(asked)), bundle)

    async def _recommend(self, request: Request, body: types.RecommendRequest, bundle: str | None) -> Response:
        served = self._served(bundle, body.user_id)
        options = _options(served, body)
        if options.diversity:
            ranking = await self._long(lambda: served.recommender.rank([body.user_id], options)[0])
        else:
            ranking = await self._batcher.rank(served.recommender, body.user_id, options)
        self._ask_shadows(request, served, body.user_id, options, ranking)
        return json_answer(self._recommendation(served, body.user_id, ranking))

    async def recommend_batch(self, request: Request, bundle: Bundle = None) -> Response:
        """Recommend to many users at once, each from their own bundle."""
        body = await self._body(types.BatchRequest, request)
        users = body.user_ids
        if len(users) * body.k > _MOST_ITEMS:
            raise RefusedError(422, f"Users times k is {len(users) * body.k}, expected at most {_MOST_ITEMS}.")
        by_user = self._live.for_users(users) if bundle is None else [self._served(bundle, "")] * len(users)

        def answer() -> bytes:
            found: list[Any] = [None] * len(by_user)
            for served in {id(one): one for one in by_user}.values():
                places = [place for place, one in enumerate(by_user) if one is served]
                rankings = served.recommender.rank([users[place] for place in places], _options(served, body))
                for place, ranking in zip(places, rankings, strict=True):
                    found[place] = self._recommendation(served, users[place], ranking)
            return to_json({"answers": found})

        return Response(await self._long(answer), media_type="application/json")

    async def fold_in(self, request: Request, bundle: Bundle = None) -> Response:
        """Recommend to a new user, from their history."""
        body = await self._body(types.FoldInRequest, request)
        served = self._served(bundle, "")
        options = _options(served, body)
        if options.diversity:
            ranking = await self._long(lambda: served.recommender.fold_in(body.item_ids, options))
        else:
            ranking = served.recommender.fold_in(body.item_ids, options)
        return json_answer(self._recommendation(served, None, ranking))

    async def profile(self, request: Request, bundle: Bundle = None) -> Response:
        """Recommend to a new user, from a text about them."""
        body = await self._body(types.ProfileRequest, request)
        served = self._served(bundle, "")
        if not served.recommender.reads_text:
            raise RefusedError(409, f"The bundle {served.name!a} has no text encoder.")
        ranking = await self._long(lambda: served.recommender.from_text(body.text, _options(served, body)))
        return json_answer(self._recommendation(served, None, ranking))

    async def similar_items(self, request: Request, bundle: Bundle = None) -> Response:
        """The items that are most similar to one."""
        body = await self._body(types.SimilarRequest, request)
        served = self._with_item(self._served(bundle, ""), body.item_id)
        ranking = await self._long(lambda: served.recommender.similar(body.item_id, _options(served, body)))
        items = answers.ranked_items(served, ranking)
        return json_answer(answers.with_bundle(served, {"item_id": body.item_id, "items": items}))

    async def score(self, request: Request, bundle: Bundle = None) -> Response:
        """The scores of given items for a user."""
        body = await self._body(types.ScoreRequest, request)
        served = self._with_user(self._served(bundle, body.user_id), body.user_id)
        scores = served.recommender.score(body.user_id, body.item_ids)
        items = [{"item_id": one.item_id, "score": one.score, "seen": one.seen} for one in scores]
        return json_answer(answers.with_bundle(served, {"user_id": body.user_id, "items": items}))

    async def explain(self, request: Request, bundle: Bundle = None) -> Response:
        """Why an item is recommended to a user, and what the language model wrote about them."""
        body = await self._body(types.ExplainRequest, request)
        served = self._with_user(self._served(bundle, body.user_id), body.user_id)
        if body.item_id is not None:
            self._with_item(served, body.item_id)
        try:
            found = await self._long(lambda: served.explainer.explain(body.user_id, body.item_id))
        except NothingUnseenError as error:
            raise RefusedError(404, "The user has seen every item.") from error
        return json_answer(answers.explain_answer(served, body.user_id, found))

    async def feedback(self, request: Request) -> Response:
        """Store what users did, for the next run to learn from; answered once it is stored.

        A client that gets another answer, or none, sends the events again, under the same ids.
        """
        if self._events is None:
            raise RefusedError(404, "This service takes no feedback: the option serve.feedback is not set.")
        events = (await self._body(FeedbackRequest, request)).events
        try:
            async with asyncio.timeout(self._options.timeout_s):
                await self._events.add(events)
        except TimeoutError as error:
            sentence = "Storing the events takes too long, send them again later."
            raise RefusedError(503, sentence, {"retry-after": "1"}) from error
        return json_answer({"stored": len(events)})

    async def user(self, user_id: str, bundle: Bundle = None) -> Response:
        """What is known about a user."""
        return json_answer(answers.user_answer(self._with_user(self._served(bundle, user_id), user_id), user_id))

    async def users(self, prefix: Words = "", limit: Few = 20, bundle: Bundle = None) -> Response:
        """Users whose id begins with a prefix."""
        served = self._served(bundle, "")
        found = await self._long(lambda: served.recommender.users.search(prefix, limit))
        return json_answer(answers.with_bundle(served, {"users": found}))

    async def item(self, item_id: str, bundle: Bundle = None) -> Response:
        """What is known about an item."""
        return json_answer(answers.item_answer(self._with_item(self._served(bundle, ""), item_id), item_id))

    async def items(self, query: Words = "", limit: Few = 20, bundle: Bundle = None) -> Response:
        """Items whose title or id contains some words."""
        served = self._served(bundle, "")
        found = await self._long(lambda: served.recommender.catalogue.search(query, limit))
        return json_answer(answers.with_bundle(served, {"items": [answers.named_item(served, item) for item in found]}))

    async def categories(self, query: Words = "", limit: Few = 20, bundle: Bundle = None) -> Response:
        """Categories whose name contains some words, for the filter of that name."""
        served = self._served(bundle, "")
        found = await self._long(lambda: served.recommender.catalogue.categories(query, limit))
        listed = [{"name": name, "items": items} for name, items in found]
        return json_answer(answers.with_bundle(served, {"categories": listed}))

    async def bundles(self) -> Response:
        """The bundles that are being served."""
        return json_answer({"bundles": [answers.bundle_answer(self._live, served) for served in self._live]})

    async def health(self) -> Response:
        """Whether the process is alive."""
        return json_answer({"status": "ok"})

    async def ready(self) -> Response:
        """Whether the process should get requests: its bundles are loaded and have passed trial requests."""
        return json_answer({"status": "ok"})

    async def version(self) -> Response:
        """What is running."""
        return json_answer({"version": __version__, "bundles": {one.name: one.version for one in self._live}})

    async def metrics(self) -> Response:
        """The metrics of this process, for Prometheus."""
        return Response(self._meters.exposition(), media_type=CONTENT_TYPE_LATEST)

    async def _body(self, model: type[_Model], request: Request) -> _Model:
        if not _JSON.fullmatch(request.headers.get("content-type", "")):
            # Pages of other origins may send any other type without asking the service first.
            sentence = "The body must be JSON: send the header Content-Type: application/json with it."
            raise RefusedError(415, sentence)
        return self._checked(model, await request.body())

    def _checked(self, model: type[_Model], content: bytes) -> _Model:
        """A body that follows its schema, with at most as many items as the service gives."""
        body = parsed(model, content)
        if isinstance(body, types.Filters) and body.k > self._options.max_k:
            if "k" in body.model_fields_set:
                sentence = f"The field 'k' is refused: input should be less than or equal to {self._options.max_k}."
                raise RefusedError(422, sentence)
            return body.model_copy(update={"k": self._options.max_k})
        return body

    def _served(self, bundle: str | None, user_id: str) -> Served:
        try:
            return self._live.for_user(user_id) if bundle is None else self._live.by_name(bundle)
        except UnknownBundleError as error:
            sentence = str(error.args[0])
            raise RefusedError(404, f"{sentence[0].upper()}{sentence[1:]}.") from error

    def _with_user(self, served: Served, user_id: str) -> Served:
        if user_id not in served.recommender.users:
            raise RefusedError(404, "Nothing is known about this user.")
        return served

    def _with_item(self, served: Served, item_id: str) -> Served:
        if item_id not in served.recommender.catalogue:
            raise RefusedError(404, "The catalogue has no such item.")
        return served

    async def _long(self, work: Callable[[], _Result]) -> _Result:
        """Run work in a thread, so that short requests go on, and give it up after the time limit.

        A thread cannot be stopped: work that was given up occupies one of the few threads until it ends.
        """
        try:
            async with asyncio.timeout(self._options.timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._long_jobs, work)
        except TimeoutError as error:
            raise RefusedError(503, "The answer took too long, try again later.", {"retry-after": "1"}) from error

    def _recommendation(self, served: Served, user_id: str | None, ranking: Ranking) -> answers.Answer:
        self._meters.count_recommendation(served.name, ranking.source)
        return answers.recommend_answer(served, user_id, ranking)

    def _ask_shadows(
        self, request: Request, served: Served, user_id: str, options: RankingOptions, shown: Ranking
    ) -> None:
        """Start a comparison unless one is running: a shadow that cannot keep up skips requests and slows none down."""
        shadows = self._live.shadows(served.name)
        if shadows and not self._shadow_jobs:
            about = {"request": request.scope.get("hnlm_request_id", ""), "bundle": served.version}
            job = asyncio.create_task(self._compare(shadows, user_id, options, _ids(served, shown), about))
            self._shadow_jobs.add(job)
            job.add_done_callback(self._shadow_jobs.discard)

    async def _compare(
        self, shadows: list[Served], user_id: str, options: RankingOptions, shown: set[str], about: dict[str, str]
    ) -> None:
        for shadow in shadows:
            try:
                ranking = (await asyncio.to_thread(shadow.recommender.rank, [user_id], options))[0]
            except Exception:
                _log.exception("the shadow %s failed", shadow.name)
                continue
            overlap = len(shown & _ids(shadow, ranking)) / max(len(shown), 1)
            self._meters.overlap.labels(shadow.name).observe(overlap)
            fields = {**about, "shadow": shadow.version, "overlap": round(overlap, 3), "source": ranking.source}
            _log.info("shadow", extra={"fields": fields})


def _options(served: Served, body: types.Filters) -> RankingOptions:
    """The options of a request, with categories as the catalogue spells them."""
    options = body.ranking_options()
    if not options.categories:
        return options
    try:
        return replace(options, categories=served.recommender.catalogue.spelled(options.categories))
    except UnknownCategoryError as error:
        raise RefusedError(404, f"The catalogue has no such category, {error.hint}.") from error


def _ids(served: Served, ranking: Ranking) -> set[str]:
    return {served.recommender.catalogue.ids[item] for item in ranking.items.tolist()}

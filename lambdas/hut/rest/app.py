"""The API as one function: an API Gateway event comes in, an answer goes out, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from hut.model.problems import Problem, did_you_mean, is_one_line
from hut.planning.fields import TASK_ID
from hut.rest import (
    adding,
    attempts,
    audit,
    configuring,
    entries,
    pools,
    programs,
    runs,
    submitting,
    tasks,
)
from hut.rest.answers import Answer, json_answer, problem_answer
from hut.rest.exchange import RUN_ID, Exchange, request_id_of
from hut.rest.observing import log_failure, log_request
from hut.rest.refusals import Refusal, fault_problem, malformed, refusal_of
from hut.rest.services import Services
from hut.store.port import UnusableStore

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Route
    from aws_lambda_powertools.event_handler.middlewares import NextMiddleware

__all__ = ["Api", "api", "respond"]

_UNKNOWN = "unknown"
_ALWAYS = {"Cache-Control": ["no-store"], "X-Content-Type-Options": ["nosniff"]}
"""Headers of every answer: it is for who asked, and no script whatever a task printed."""


class Api(APIGatewayRestResolver):
    """The resolver; it also knows which routes there are."""

    def find(self, method: str, path: str) -> tuple[Route | None, dict[str, str]]:
        """Return the route of a request and the parts of its path that have names."""
        for route in (*self._static_routes, *self._dynamic_routes):
            match = route.rule.match(path)
            if route.method == method and match is not None:
                return route, match.groupdict()
        return None, {}

    def methods_of(self, path: str) -> list[str]:
        """Return the methods a path knows."""
        routes = (*self._static_routes, *self._dynamic_routes)
        return sorted({route.method for route in routes if route.rule.match(path)})


api = Api(enable_validation=True, debug=False)


def respond(
    event: Mapping[str, Any], context: Any, services: Callable[[], Services]
) -> dict[str, Any]:
    """Answer a request.

    Parameters
    ----------
    event
        A REST API proxy event of API Gateway.
    context
        The Lambda's.
    services
        Called once the request is known to be one.
    """
    started = time.perf_counter()
    notes: dict[str, str] = {}
    method, route = _UNKNOWN, None
    try:
        event = _plain(event)
        method = str(event["httpMethod"]).upper()
        path = str(event["path"])
        if not is_one_line(path):  # the pattern of a route would let a line end pass behind it
            raise _no_route(method, path)
        route, parts = api.find(method, path)
        notes |= _ids(event, parts)
        exchange = Exchange(services(), event, notes)
        api.append_context(exchange=exchange)  # type: ignore[no-untyped-call]
        answer = api.resolve(_plain(event), context)  # a copy: powertools writes into the query
    except Refusal as refused:
        answer = _as_event(problem_answer(refused, request_id_of(event)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a problem document
        log_failure(error, notes)
        refusal = refusal_of(error) if isinstance(error, UnusableStore) else None
        answer = _as_event(problem_answer(refusal, request_id_of(event)))
    answer["multiValueHeaders"] |= _ALWAYS
    milliseconds = (time.perf_counter() - started) * 1000
    name = _UNKNOWN if route is None else route.openapi_path
    log_request(method, name, answer["statusCode"], milliseconds, notes)
    return answer


def _plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event with its query in one form; powertools splits the other at commas."""
    many = event.get("multiValueQueryStringParameters")
    single = event.get("queryStringParameters") or {}
    query = many or {name: [value] for name, value in single.items()}
    query = {name: list(values) for name, values in query.items()}
    return {
        **event,
        "multiValueQueryStringParameters": query,
        "queryStringParameters": None,
    }


def _ids(event: Mapping[str, Any], parts: Mapping[str, str]) -> dict[str, str]:
    """Return the ids by which the log can be searched; only what can be an id."""
    ids = {"request_id": request_id_of(event)}
    if RUN_ID.fullmatch(run := parts.get("run", "")):
        ids["run_id"] = run
    if TASK_ID.fullmatch(task := parts.get("task", "")):
        ids["task_id"] = task
    return {name: value for name, value in ids.items() if value is not None}


def _as_event(response: Response[str]) -> dict[str, Any]:
    """Return an answer as API Gateway takes it, where the resolver is not there to do it."""
    return {
        "statusCode": response.status_code,
        "body": response.body,
        "isBase64Encoded": False,
        "multiValueHeaders": {name: [value] for name, value in response.headers.items()},
    }


def _unknown_parameters() -> list[Problem]:
    """Return a problem for each query parameter that the route does not have."""
    event = api.current_event
    route, _ = api.find(event.http_method.upper(), event.path)
    if route is None:
        return []
    known = [str(parameter.alias) for parameter in route.dependant.query_params]
    problems = []
    for name in event.multi_value_query_string_parameters:
        if name not in known:
            hint = did_you_mean(name, known) or "this route has none"
            problems.append(Problem(f"unknown query parameter; {hint}", field=name[:100]))
    return problems


def _refuse_unknown_parameters(
    app: APIGatewayRestResolver, next_middleware: NextMiddleware
) -> Response[Any]:
    if problems := _unknown_parameters():
        raise malformed(problems)
    return next_middleware(app)


api.use([_refuse_unknown_parameters])


@api.exception_handler(Exception)  # type: ignore[untyped-decorator]
def _tell(error: Exception) -> Response[str]:
    """Answer with a problem document; what it says is decided in `hut.rest.refusals`."""
    event = api.current_event
    if isinstance(error, NotFoundError):
        refusal: Refusal | None = _no_route(event.http_method.upper(), event.path)
    elif isinstance(error, RequestValidationError):
        problems = [fault_problem(fault, skip=1) for fault in error.errors()]
        refusal = malformed([*problems, *_unknown_parameters()])
    else:
        refusal = refusal_of(error)
    if refusal is None or refusal.kind == "conflict":  # the store could not: operators want to know
        exchange: Exchange = api.context["exchange"]
        log_failure(error, exchange.notes)
    return problem_answer(refusal, request_id_of(event.raw_event))


def _no_route(method: str, path: str) -> Refusal:
    methods = api.methods_of(path) if is_one_line(path) else []
    if not methods:
        return Refusal(404, "unknown-route", f"there is no {path[:200]}; see /openapi.json")
    known = ", ".join(methods)
    detail = f"{path[:200]} knows {known}, not {method[:20]}"
    return Refusal(405, "method-not-allowed", detail, headers={"Allow": known})


@api.get("/health", summary="Say that the API answers", operation_id="health")
def _health() -> Answer:
    exchange: Exchange = api.context["exchange"]
    services = exchange.services
    return json_answer({"status": "ok", "version": services.version, "prefix": services.prefix})


@api.get("/openapi.json", summary="Describe the API", operation_id="describeApi")
def _describe() -> Answer:
    from hut.rest.openapi import openapi_text  # its models are needed only here

    return json_answer(openapi_text())


for _router in (
    submitting.router,
    runs.router,
    adding.router,
    tasks.router,
    attempts.router,
    audit.router,
    configuring.router,
    entries.router,
    pools.router,
    programs.router,
):
    api.include_router(_router)

"""HTTP triggers: ASP.NET route templates, methods, authorization levels, and the way from a request to a response."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

from azure.functions.meta import Datum
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from local.host.errors import AppRefused
from local.host.function import HostFunction
from local.host.invoker import Invoker
from local.host.keys import Keys

_CONSTRAINTS = {
    "": "[^/]+",
    "int": r"-?\d+",
    "long": r"-?\d+",
    "alpha": "[A-Za-z]+",
    "bool": "(?i:true|false)",
    "guid": "[0-9a-fA-F-]{36}",
}
_PARAMETER = re.compile(r"\{(\*{0,2})([A-Za-z_]\w*)(?::(\w+))?(\?)?\}")


@dataclass(frozen=True)
class HttpRoute:
    """One function's template as a pattern. `weight`: literal segments first, as ASP.NET orders them."""

    function: HostFunction
    pattern: re.Pattern[str]
    weight: tuple[int, ...]
    methods: frozenset[str]


class HttpFunctions:
    """Answers `/<prefix>/<route>`. What matches no template or no method is 404, as on the Functions host."""

    def __init__(self, functions: Sequence[HostFunction], prefix: str, invoker: Invoker, keys: Keys) -> None:
        self._invoker, self._keys = invoker, keys
        routes = [compile_route(function, prefix) for function in functions if function.trigger_type == "httpTrigger"]
        self.routes = sorted(routes, key=lambda route: route.weight)

    async def answer(self, request: Request) -> Response:
        for route in self.routes:
            match = route.pattern.fullmatch(request.url.path)
            if match and request.method in route.methods:
                return await self._invoke(route.function, request, match)
        return PlainTextResponse("", 404)

    async def _invoke(self, function: HostFunction, request: Request, match: re.Match[str]) -> Response:
        if not self._allowed(function, request):
            return PlainTextResponse("", 401)
        parameters = {name: value for name, value in match.groupdict().items() if value is not None}
        payload = to_datum(request, parameters, await request.body())
        result = await self._invoker.invoke(function, payload, None, request.headers.get("traceparent", ""))
        return to_response(result.returned) if result.succeeded else PlainTextResponse("", 500)

    def _allowed(self, function: HostFunction, request: Request) -> bool:
        level = str(function.trigger.get("authLevel", "function")).lower()
        if level == "anonymous":
            return True
        given = request.headers.get("x-functions-key") or request.query_params.get("code")
        return self._keys.opens(given, *([self._keys.function] if level == "function" else []))


def compile_route(function: HostFunction, prefix: str) -> HttpRoute:
    """Turn `orders/{id:int?}` into a pattern. Raises AppRefused for what this host does not know."""
    template = str(function.trigger.get("route") or function.name).strip("/")
    pattern, weight = "", []
    for segment in [part for part in f"{prefix}/{template}".split("/") if part]:
        piece, optional, kind = _segment(segment, function.name)
        pattern += f"(?:/{piece})?" if optional else f"/{piece}"
        weight.append(kind)
    methods = frozenset(
        str(method).upper()
        for method in function.trigger.get("methods") or ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
    )
    return HttpRoute(function, re.compile(pattern + "/?", re.IGNORECASE), tuple(weight), methods)


def _segment(segment: str, function: str) -> tuple[str, bool, int]:
    match = _PARAMETER.fullmatch(segment)
    if match is None:
        if "{" in segment:
            raise AppRefused(
                [
                    f"function {function}: route segment {segment!r} is not known to this host; "
                    f"use {{name}}, {{name:int}}, {{name?}} or {{*rest}}."
                ]
            )
        return re.escape(segment), False, 0
    star, name, constraint, optional = match.groups()
    if (constraint or "") not in _CONSTRAINTS:
        raise AppRefused(
            [
                f"function {function}: route constraint {constraint!r} is not known to this host; "
                f"it has {', '.join(filter(None, _CONSTRAINTS))}."
            ]
        )
    if star:
        return f"(?P<{name}>.*)", True, 2
    return f"(?P<{name}>{_CONSTRAINTS[constraint or '']})", bool(optional), 1


def to_datum(request: Request, parameters: Mapping[str, str], body: bytes) -> Datum:
    """The request as the worker receives it."""

    def texts(mapping: Mapping[str, str]) -> dict[str, Datum]:
        return {name: Datum(value, "string") for name, value in mapping.items()}

    value = {
        "method": Datum(request.method, "string"),
        "url": Datum(str(request.url), "string"),
        "headers": texts(dict(request.headers)),
        "query": texts(dict(request.query_params)),
        "params": texts(parameters),
        "body": Datum(body, "bytes"),
    }
    return Datum(value, "http")


def to_response(datum: Datum | None) -> Response:
    """Text alone is 200; otherwise status, headers, cookies and body as the function gave them."""
    if datum is None or datum.type != "http":
        return PlainTextResponse(datum.value if datum is not None else "")
    value: dict[str, Any] = datum.value
    response = Response(value["body"].value, int(value["status_code"].value))
    for name, header in value["headers"].items():
        if name.lower() != "content-length":
            response.headers[name] = header.value
    cookies: list[SimpleCookie] = value.get("cookies") or []
    for cookie in cookies:
        for morsel in cookie.values():
            response.headers.append("set-cookie", morsel.OutputString())
    return response

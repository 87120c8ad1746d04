"""The page and its JSON as routes, and who may ask for them.

Nobody needs a token: a browser has none, and everything below is read-only and without secrets. Three rules take its place.
The emulator listens on 127.0.0.1 alone. The Host header must name this machine, so that a foreign site whose name was made to
lead here (DNS rebinding) gets nothing. No CORS header is ever sent, and a request that another site's page makes is refused.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from local.azureml.call import Answer, Call, Handler, Route
from local.azureml.dashboard.assets import Assets
from local.azureml.dashboard.endpoints import Endpoints
from local.azureml.dashboard.jobs import Jobs
from local.azureml.dashboard.overview import Overview
from local.azureml.errors import AzureError
from local.azureml.steering import ROOT

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

_PAGE = Path(__file__).with_name("page.html")
_OWN = "the emulator's own, read-only; no token, but the Host header must be this machine's"
_JSON_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def routes(emulator: Emulator) -> list[Route]:
    """`/` and what it asks for below `/_emulator/`: GET only."""
    jobs, assets, endpoints, overview = Jobs(emulator), Assets(emulator), Endpoints(emulator), Overview(emulator)
    paths: list[tuple[str, Handler]] = [
        ("overview", overview.show),
        ("jobs", jobs.newest),
        ("jobs/{name}", jobs.one),
        ("log/{name}", jobs.log),
        ("assets/{kind}", assets.names),
        ("assets/{kind}/{name}", assets.versions),
        ("endpoints", endpoints.all),
        ("schedules", overview.schedules),
    ]
    found = [Route("GET", "//", _guarded(emulator, page), "(browsers)", _OWN, auth="open")]
    for path, handler in paths:
        found.append(Route("GET", f"/{ROOT}/{path}", _guarded(emulator, handler), "(the page at /)", _OWN, auth="open"))
    return found


def page(_call: Call) -> Answer:
    """The static file. Its own script and style are named by their hashes, so that nothing else can ever run in it."""
    content, policy = _page()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
    }
    return Answer(content, headers={**_JSON_HEADERS, **headers})


@cache
def _page() -> tuple[str, str]:
    content = _PAGE.read_text(encoding="utf-8")
    script, style = (_hash(content, tag) for tag in ("script", "style"))
    policy = [
        "default-src 'none'",
        f"script-src '{script}'",
        f"style-src '{style}'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return content, "; ".join(policy)


def _hash(content: str, tag: str) -> str:
    (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", content, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()


def _guarded(emulator: Emulator, handler: Handler) -> Handler:
    hosts = {f"{host}:{emulator.settings.port}" for host in ("127.0.0.1", "localhost")}

    def guarded(call: Call) -> Answer:
        if call.headers.get("host", "").lower() not in hosts:
            raise AzureError(421, "MisdirectedRequest", "This page answers to 127.0.0.1 and localhost only.")
        if call.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise AzureError(403, "AuthorizationFailed", "This page answers its own requests only, none of other sites.")
        answer = handler(call)
        return Answer(answer.body, answer.status, {**_JSON_HEADERS, **answer.headers})

    return guarded

"""host.json and local.settings.json, and the app settings that `%NAME%` in a binding refers to.

A variable of the process wins over the same name in local.settings.json, as Core Tools does it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from local.host.errors import AppRefused

_DURATION = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.\d+)?")


@dataclass(frozen=True)
class QueueOptions:
    """`extensions.queues` of host.json with the host's own defaults."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta(0)
    """How long a message stays hidden after its function failed."""
    max_polling_interval: timedelta = timedelta(minutes=1)
    base64: bool = True


@dataclass(frozen=True)
class HostOptions:
    """What this host honours of host.json."""

    function_timeout: timedelta | None = timedelta(minutes=30)
    """Default of the Flex Consumption plan; None (`-1` in host.json) means without end."""
    route_prefix: str = "api"
    queues: QueueOptions = field(default_factory=QueueOptions)


def read_host_json(app: Path) -> HostOptions:
    """Read and check `host.json` in the app folder. Raises AppRefused naming the file and the path of the wrong value."""
    document = _read_json(app / "host.json")
    if document.get("version") != "2.0":
        raise AppRefused([f'host.json: "version" is {document.get("version")!r}; it must be "2.0".'])
    if "extensionBundle" not in document:
        raise AppRefused(
            ['host.json: "extensionBundle" is missing; without it Azure loads no queue, timer or Event Grid trigger.']
        )
    extensions = document.get("extensions", {})
    timeout = document.get("functionTimeout")
    return HostOptions(
        function_timeout=None if timeout == "-1" else _duration(timeout, "functionTimeout", timedelta(minutes=30)),
        route_prefix=str(extensions.get("http", {}).get("routePrefix", "api")).strip("/"),
        queues=_queue_options(extensions.get("queues", {})),
    )


def _queue_options(section: Mapping[str, Any]) -> QueueOptions:
    batch_size = _integer(section, "batchSize", 16, 1, 32)
    encoding = str(section.get("messageEncoding", "base64")).lower()
    if encoding not in ("base64", "none"):
        raise AppRefused([f'host.json: extensions.queues.messageEncoding is {encoding!r}; it must be "base64" or "none".'])
    return QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=_integer(section, "newBatchThreshold", batch_size // 2, 0, 1000),
        max_dequeue_count=_integer(section, "maxDequeueCount", 5, 1, 1000),
        visibility_timeout=_duration(section.get("visibilityTimeout"), "extensions.queues.visibilityTimeout", timedelta(0)),
        max_polling_interval=_duration(
            section.get("maxPollingInterval"), "extensions.queues.maxPollingInterval", timedelta(minutes=1)
        ),
        base64=encoding == "base64",
    )


def apply_local_settings(app: Path, environment: MutableMapping[str, str]) -> list[str]:
    """Put `Values` of local.settings.json into `environment` where it lacks that name; return the names that were skipped."""
    path = app / "local.settings.json"
    if not path.exists():
        return []
    document = _read_json(path)
    if document.get("IsEncrypted"):
        raise AppRefused(["local.settings.json: IsEncrypted is true; decrypt it (`func settings decrypt`), this host cannot."])
    values = document.get("Values", {})
    wrong = [name for name, value in values.items() if not isinstance(value, str)]
    if wrong:
        raise AppRefused([f"local.settings.json: Values.{name} must be a string." for name in wrong])
    skipped = [name for name in values if name in environment]
    environment.update({name: value for name, value in values.items() if name not in environment})
    return skipped


def resolve(text: str, settings: Mapping[str, str]) -> str:
    """Replace each `%NAME%` by the app setting. Raises KeyError with the name when there is no such setting."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not settings.get(name):
            raise KeyError(name)
        return settings[name]

    return re.sub(r"%([^%\s]+)%", value, text)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise AppRefused([f"{path.name} is missing in {path.parent}; is that the app's folder?"]) from None
    except ValueError as error:
        raise AppRefused([f"{path.name} is not JSON: {error}"]) from None
    if not isinstance(document, dict):
        raise AppRefused([f"{path.name} must hold a JSON object."])
    return document


def _integer(section: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = section.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise AppRefused([f"host.json: extensions.queues.{name} is {value!r}; it must be a whole number in {low}-{high}."])
    return value


def _duration(value: Any, name: str, default: timedelta) -> timedelta:
    """A .NET TimeSpan (`hh:mm:ss`, `d.hh:mm:ss`)."""
    if value is None:
        return default
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise AppRefused([f'host.json: {name} is {value!r}; it must be a time span such as "00:00:30".'])
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)

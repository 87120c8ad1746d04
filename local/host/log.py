"""Log lines: JSON into a file, readable ones on standard error. Each names the function and the invocation it came from."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

current_function: ContextVar[str] = ContextVar("current_function", default="")
current_invocation: ContextVar[str] = ContextVar("current_invocation", default="")


class _WithInvocation(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.function = current_function.get()
        record.invocation = current_invocation.get()
        return True


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in ("function", "invocation") if (value := getattr(record, name, ""))}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        function = getattr(record, "function", "")
        where = f"{function}: " if function else ""
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        text = f"{at} {record.levelname.lower():<7} {where}{record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(folder: Path) -> None:
    """Send every logger's lines to `folder/host.jsonl` (10 MB, three old ones kept) and to standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    file = RotatingFileHandler(folder / "host.jsonl", maxBytes=10_000_000, backupCount=3, encoding="utf-8")
    file.setFormatter(_JsonLine())
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(_Readable())
    for handler in (file, console):
        handler.addFilter(_WithInvocation())
    logging.basicConfig(level=logging.INFO, handlers=[file, console], force=True)
    # Every request of the Azure SDKs and of httpx would be a line of its own.
    for noisy in ("azure", "httpx", "httpcore", "uvicorn.access", "msal"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

"""Notices in the log: one line of JSON each, which Application Insights keeps and alert rules can be set on."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from ml_core.ports import Notice

_log = logging.getLogger("tidegate.notices")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


class LogNotifier:
    """Implements `Notifier`."""

    def send(self, notice: Notice) -> None:
        _log.log(_LEVELS[notice.level], "notice %s", json.dumps(asdict(notice), sort_keys=True))

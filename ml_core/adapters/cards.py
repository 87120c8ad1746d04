"""A notice as the JSON that a chat's incoming webhook takes. Everything in it is shown as it stands, never as markup.

What a notice tells was partly written by others (a reason, an error of Azure). So it goes only where the chats read no markup:

- Teams: the text runs of a RichTextBlock. Markdown is read in a TextBlock and in facts, and in nothing else
  (https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format). Adaptive Cards 1.2 has it.
- Slack: `plain_text` objects (https://docs.slack.dev/reference/block-kit/composition-objects/text-object). The line for pop-ups
  is read as markup wherever it is shown, so there `&`, `<` and `>` are escaped, and nobody is mentioned.
"""

from __future__ import annotations

from typing import Any

from ml_core.ports import Notice
from ml_core.settings import NotifyFormat

# Slack refuses a message with more: 150 characters in a header, 3000 in a section, 10 fields of 2000 in a section
# (https://docs.slack.dev/reference/block-kit/blocks). Teams takes 28 KB in all, which these keep well below.
_TITLE, _TEXT, _LINES, _FACT, _FACTS, _FIELDS_IN_A_SECTION = 150, 2500, 30, 300, 20, 10
_COLOURS = {"info": "Good", "warning": "Warning", "critical": "Attention"}
_SIGNS = {"info": "ℹ️", "warning": "⚠️", "critical": "🛑"}


def card(layout: NotifyFormat, notice: Notice) -> dict[str, Any]:
    """The body of the POST."""
    return _teams(notice) if layout == "teams" else _slack(notice)


def _teams(notice: Notice) -> dict[str, Any]:
    """A message with one Adaptive Card, as the trigger "When a Teams webhook request is received" takes it."""
    title = _run(notice.title, _TITLE, weight="Bolder", size="Large", color=_COLOURS[notice.level])
    facts = [[_run(f"{name}: ", _FACT, weight="Bolder"), _run(value, _FACT)] for name, value in _facts(notice)]
    # A run knows no line breaks: a block for each line.
    lines = [[_run(line, _TEXT)] for line in _cut(notice.text, _TEXT).splitlines()[:_LINES]]
    body = [_block(runs) for runs in ([title], *lines, *facts)]
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "attachments": [attachment]}


def _block(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": runs}


def _run(text: str, longest: int, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": _cut(text, longest), **look}


def _slack(notice: Notice) -> dict[str, Any]:
    """A message of Block Kit."""
    fields = [_plain(f"{name}: {value}", _FACT) for name, value in _facts(notice)]
    sections = [fields[first : first + _FIELDS_IN_A_SECTION] for first in range(0, len(fields), _FIELDS_IN_A_SECTION)]
    title = f"{_SIGNS[notice.level]} {notice.title}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(title, _TITLE)},
        {"type": "section", "text": _plain(notice.text, _TEXT)},
        *({"type": "section", "fields": some} for some in sections),
    ]
    return {"text": _escaped(_cut(title, _TITLE)), "mrkdwn": False, "blocks": blocks}


def _plain(text: str, longest: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _cut(text, longest), "emoji": False}


def _escaped(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text: these three, and no others."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _facts(notice: Notice) -> list[tuple[str, str]]:
    return [("endpoint", notice.endpoint), *list(notice.facts.items())[: _FACTS - 2], ("notice", notice.id)]


def _cut(text: str, longest: int) -> str:
    """Not empty, since Slack refuses that, and without what could steer or reverse the text around it."""
    harmless = "".join(one if one.isprintable() or one == "\n" else " " for one in text).strip() or "-"
    return harmless if len(harmless) <= longest else harmless[: longest - 1] + "…"

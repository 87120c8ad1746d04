"""Two words for everything that can go wrong. They are the whole retry policy.

TidegateError
├── TemporaryError          raise it: the event or queue message is delivered again
│   └── Conflict            somebody else changed the same thing first: look again soon
└── PermanentError          record it with its ids and acknowledge: trying again cannot help
    ├── SettingError        an app setting is missing or malformed
    ├── ConfigError         tidegate.yaml says something that cannot be meant
    └── EventError          an event lacks a field or holds one that cannot be read

Any other exception counts as temporary: an unknown fault must not lose an event.
"""

from __future__ import annotations


class TidegateError(Exception):
    """Says what happened, where, and what to do about it."""


class TemporaryError(TidegateError):
    """Worth another try: throttling, timeouts, a resource that is still being updated."""


class Conflict(TemporaryError):
    """A condition on an ETag or on a resource's state was not met because somebody else came first."""


class PermanentError(TidegateError):
    """The same input will fail in the same way for ever."""


class SettingError(PermanentError):
    """An app setting is missing or malformed."""


class ConfigError(PermanentError):
    """tidegate.yaml says something that cannot be meant. The message has one line per finding."""


class EventError(PermanentError):
    """An event that cannot be understood. The message names the field."""

"""`?after=&limit=` of the page's JSON: parts of a list, each from behind the part before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.azureml.call import Call
from local.azureml.errors import bad_request
from local.azureml.queries import Query
from local.azureml.store import Page

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

LARGEST = 200
_USUAL = 50


def part(emulator: Emulator, call: Call, query: Query) -> Page:
    """The asked part of what the query finds; 400 for a limit out of range or an `after` that no part gave."""
    text = call.query.get("limit", str(_USUAL))
    if not text.isdecimal() or len(text) > len(str(LARGEST)) or not 0 < int(text) <= LARGEST:
        raise bad_request(f"limit must be a whole number from 1 to {LARGEST}.")
    try:
        return emulator.store.page(query, int(text), call.query.get("after"))
    except ValueError as error:
        raise bad_request("after must be the 'next' of an earlier answer.") from error

"""Which documents of the store, in which order, page by page: turned into SQL that reads no more than the page.

A page begins after a document (keyset), not after a number of them: what is written or deleted meanwhile neither repeats nor
skips what was there when the walk began.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

COLUMNS = "name, version, body, created, updated, etag"

# Read off the body by sqlite itself, so that no writer can forget them; indexed below.
MARKS = {
    # 1 for an archived asset (properties.isArchived) and for a hidden run (hidden).
    "archived": "COALESCE(json_extract(CAST(body AS TEXT), '$.properties.isArchived'), "
    "json_extract(CAST(body AS TEXT), '$.hidden')) IS TRUE",
    # A version that is a plain number, for `highest`; what has 19 digits and more is no count of versions any more.
    "number": "CASE WHEN version != '' AND version NOT GLOB '*[^0-9]*' AND length(version) < 19 "
    "THEN CAST(version AS INTEGER) END",
}
# Each ends in `sequence`, the table's rowid, by itself: entries come in the order of creation.
INDEXES = {
    "documents_of_kind": "kind",
    "documents_of_kind_marked": "kind, archived",
    "documents_of_name": "kind, name",
    "documents_of_name_marked": "kind, name, archived",
    "documents_by_update": "kind, name, updated",
    "documents_by_number": "kind, name, number",
}


@dataclass(frozen=True)
class Query:
    """Documents of one kind that meet every condition given, in the order of creation or of the last change.

    A job's tags and whether it is archived live in its run, so the list of jobs is
    `Query("jobs", archived=False, marked_in="runs", tags=(("stage", "live"),), fields=(("properties.jobType", "Pipeline"),))`.
    """

    kind: str
    name: str | None = None
    """Only this name: the versions of an asset, the children of a run."""
    archived: bool | None = None
    """None: both."""
    tags: tuple[tuple[str, str | None], ...] = ()
    """Tag and value, or None for any value. Tags lie in `properties.tags` (an asset) or `tags` (a run)."""
    fields: tuple[tuple[str, str | None], ...] = ()
    """Path in the document's own body ("properties.jobType", of letters and dots) and its value, or None for no value."""
    marked_in: str = ""
    """The kind whose document of the same name `archived` and `tags` are asked of, instead of the document itself."""
    order: Literal["created", "updated"] = "created"
    newest_first: bool = True

    def sql(self, after: str | None = None) -> tuple[str, list[Any]]:
        """Conditions and order as SQL that follows `FROM documents`; ValueError when `after` is no token of `token`."""
        conditions, values = ["kind = ?"], list[Any]([self.kind])
        if self.name is not None:
            conditions, values = [*conditions, "name = ?"], [*values, self.name]
        for path, value in self.fields:
            conditions.append("json_extract(CAST(body AS TEXT), ?) IS ?")
            values += [f"$.{path}", value]
        marks, marked = self._marks()
        if self.marked_in:
            same = " AND ".join(["kind = ?", "name = documents.name", *marks])
            conditions.append(f"EXISTS (SELECT 1 FROM documents AS other WHERE {same})")  # noqa: S608 - constant conditions
            values += [self.marked_in, *marked]
        else:
            conditions, values = conditions + marks, values + marked
        start, begun = self._start(after)
        direction = "DESC" if self.newest_first else "ASC"
        by = f"updated {direction}, sequence {direction}" if self.order == "updated" else f"sequence {direction}"
        return f"WHERE {' AND '.join(conditions + start)} ORDER BY {by}", values + begun

    def token(self, sequence: int, updated: str) -> str:
        """What `sql` takes to begin after this document; good in a URL, and says nothing to anybody else."""
        return base64.urlsafe_b64encode(f"{sequence} {updated}".encode()).decode()

    def _marks(self) -> tuple[list[str], list[Any]]:
        conditions, values = list[str](), list[Any]()
        if self.archived is not None:
            conditions, values = ["archived = ?"], [int(self.archived)]
        for tag, value in self.tags:
            wanted = "key = ?" if value is None else "key = ? AND value = ?"
            conditions.append(f"({' OR '.join(f'EXISTS ({place} WHERE {wanted})' for place in _TAGS)})")
            values += [tag] * len(_TAGS) if value is None else [tag, value] * len(_TAGS)
        return conditions, values

    def _start(self, after: str | None) -> tuple[list[str], list[Any]]:
        if after is None:
            return [], []
        number, _, updated = base64.urlsafe_b64decode(after.encode()).decode().partition(" ")
        if len(number) > _LONGEST:
            raise ValueError(f"'{number}' is no document's number")
        sequence = int(number)
        beyond = "<" if self.newest_first else ">"
        if self.order == "updated":
            return [f"(updated, sequence) {beyond} (?, ?)"], [updated, sequence]
        return [f"sequence {beyond} ?"], [sequence]


_LONGEST = 18
"""Digits of a number that sqlite takes for sure."""
_TAGS = [
    "SELECT 1 FROM json_each(CAST(body AS TEXT), '$.properties.tags')",
    "SELECT 1 FROM json_each(CAST(body AS TEXT), '$.tags')",
]

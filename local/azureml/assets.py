"""What every versioned asset shares: a container per name, immutable versions, archiving, listing, paging.

Data, environments, components and models say in an `AssetKind` what is particular to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from local.azureml import arm, curated, lookup
from local.azureml.call import Answer, Call, Route
from local.azureml.errors import AzureError, bad_request, not_found
from local.azureml.names import DOTTED, PLAIN, NameRule
from local.azureml.queries import Query
from local.azureml.store import Body, Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

Properties = dict[str, Any]

_OPTIONS = ("listViewType", "$orderBy", "$tags")
_ORDERS: dict[str, Literal["created", "updated"]] = {"createdtime": "created", "modifiedtime": "updated"}
_SERVER_FIELDS = {"provisioningState", "latestVersion", "nextVersion"}


@dataclass(frozen=True)
class AssetKind:
    """What is particular to one kind.

    `check` raises when a version's properties are not acceptable, `refuse_change` when they change what must not change.
    """

    segment: str
    """In URLs and as the store's kind: "data"."""
    noun: str
    """In messages: "data asset"."""
    sdk: str
    """The operation group of MLClient: "data"."""
    check: Callable[[Properties], None]
    refuse_change: Callable[[str, Properties, Properties], None]
    name_rule: NameRule = PLAIN
    reserved: tuple[str, ...] = ()
    """How names do not begin that customers give, in lower case."""
    answer_defaults: Properties = field(default_factory=dict)
    """Fields that Azure always answers and the SDK relies on."""
    container_fields: tuple[str, ...] = ()
    """Properties that belong to the name and not to one version: fixed by the first version."""
    state: Properties = field(default_factory=lambda: {"provisioningState": "Succeeded"})
    """What Azure answers of the making of a version; data has none."""
    differences: str = ""
    settled: Callable[[str, str, Properties], Properties] = lambda _name, _version, properties: properties
    """What a version is kept with, of what was sent for it."""
    default_version: str = ""
    """In the place of a version: the newest of the active ones."""

    @property
    def containers(self) -> str:
        return f"{self.segment}.containers"


class Assets:
    """The operations on one kind of asset, in the workspace unless another place is given."""

    def __init__(
        self,
        emulator: Emulator,
        kind: AssetKind,
        created: Callable[[str, str, Body], None] | None = None,
        place: arm.Place | None = None,
    ) -> None:
        """`created(name, version, body)` is called for each new version, in the transaction that stores it."""
        self._emulator, self._store, self.kind, self._created = emulator, emulator.store, kind, created
        self._place = place or arm.workspace(emulator)
        self._versions, self._containers = self._place.kind(kind.segment), self._place.kind(kind.containers)

    def routes(self) -> list[Route]:
        path, sdk = f"/{self.kind.segment}", self.kind.sdk
        version, latest = f"{path}/{{name}}/versions/{{version}}", "by label latest: newest of the active versions"
        whole = "a name goes with all of its versions; azure-ai-ml has no call for it"
        return [
            Route("GET", path, self.list_names, f"{sdk}.list()", query=_OPTIONS),
            Route("GET", f"{path}/{{name}}", self.get_name, f"{sdk}.archive/restore(name), automatic versions", latest),
            Route("PUT", f"{path}/{{name}}", self.put_name, f"{sdk}.archive/restore(name)"),
            Route("DELETE", f"{path}/{{name}}", self.delete_name, "(REST only)", whole),
            Route(
                "GET",
                f"{path}/{{name}}/versions",
                self.list_versions,
                f"{sdk}.list(name=), {sdk}.get(label=)",
                latest,
                query=_OPTIONS,
            ),
            Route("GET", version, self.get_version, f"{sdk}.get(name, version)"),
            Route("PUT", version, self.put_version, f"{sdk}.create_or_update, {sdk}.archive/restore", self.kind.differences),
            Route("DELETE", version, self.delete_version, "(REST only)", "azure-ai-ml has no call for it"),
        ]

    # versions

    def has(self, name: str, version: str) -> bool:
        return self._store.record(self._versions, name, version) is not None

    def properties(self, name: str, version: str) -> Properties:
        """What the version has; 404 when there is none."""
        properties: Properties = self._find(name, version).body["properties"]
        return properties

    def _find(self, name: str, version: str) -> Record:
        if version and version == self.kind.default_version:
            record = lookup.newest(self._emulator, self._place, self.kind.segment, name)
        else:
            record = self._store.record(self._versions, name, version)
            record = record or curated.version(self._place, self.kind.segment, name, version)
        if record is None:
            raise self._missing(f"{name}:{version}")
        return record

    def get_version(self, call: Call) -> Answer:
        return Answer(self._version(self._find(call.path_params["name"], call.path_params["version"])))

    def put_version(self, call: Call) -> Answer:
        """201 for a new version, 200 for an existing one whose tags, description or archive state change."""
        name, version = call.path_params["name"], call.path_params["version"]
        self._check_names(name, version)
        properties = {key: value for key, value in call.properties.items() if key not in _SERVER_FIELDS}
        self.kind.check(properties)
        properties, is_new = self.kind.settled(name, version, properties), False

        def change(old: Body | None) -> Body:
            nonlocal is_new
            is_new = old is None
            if old is not None:
                self.kind.refuse_change(f"{name}:{version}", old["properties"], properties)
                return {"properties": {**old["properties"], **properties}}
            self._join_container(name, properties)
            if self._created is not None:
                self._created(name, version, {"properties": properties})
            return {"properties": properties}

        record = self._store.upsert(self._versions, name, version, change)
        return Answer(self._version(record), 201 if is_new else 200)

    def list_versions(self, call: Call) -> Answer:
        """Newest first unless `$orderBy` says otherwise; an unknown name is an empty list, as the SDK expects."""
        name = call.path_params["name"]
        stand_in = curated.version(self._place, self.kind.segment, name, curated.LATEST)
        if stand_in is not None and self._store.newest(Query(self._versions, name)) is None:
            return Answer({"value": [self._version(stand_in)]})
        query = self._query(call, self._versions, name, "createdtime desc")
        return arm.stored_page(self._emulator, call, query, self._version)

    def delete_version(self, call: Call) -> Answer:
        """200, or 204 when there is none; the name stays, as do its other versions."""
        there = self._store.delete(self._versions, call.path_params["name"], call.path_params["version"])
        return Answer(status=200 if there else 204)

    # names

    def get_name(self, call: Call) -> Answer:
        name = call.path_params["name"]
        record = self._store.record(self._containers, name) or curated.container(self._place, self.kind.segment, name)
        if record is None:
            raise self._missing(name)
        return Answer(self._container(record))

    def put_name(self, call: Call) -> Answer:
        name = call.path_params["name"]
        self._check_names(name)
        properties = {key: value for key, value in call.properties.items() if key not in _SERVER_FIELDS}

        def change(old: Body | None) -> Body:
            before = old["properties"] if old else {}
            self._refuse_container_change(name, before, properties)
            return {"properties": {"isArchived": False, **before, **properties}}

        existed = self._store.record(self._containers, name) is not None
        record = self._store.upsert(self._containers, name, "", change)
        return Answer(self._container(record), 200 if existed else 201)

    def list_names(self, call: Call) -> Answer:
        """In the order of creation unless `$orderBy` says otherwise."""
        return arm.stored_page(
            self._emulator, call, self._query(call, self._containers, None, "createdtime asc"), self._container
        )

    def delete_name(self, call: Call) -> Answer:
        """200, or 204 when there is none; its versions go with it."""
        name = call.path_params["name"]
        with self._store.transaction():
            self._store.delete_all(self._versions, name)
            there = self._store.delete(self._containers, name)
        return Answer(status=200 if there else 204)

    # shapes

    def _version(self, record: Record) -> Body:
        properties = {**self.kind.answer_defaults, **record.body["properties"], **self.kind.state}
        path = f"/{self.kind.segment}/{record.name}/versions/{record.version}"
        return arm.resource(self._emulator, record, path, self._place, properties=properties)

    def _container(self, record: Record) -> Body:
        newest = lookup.newest(self._emulator, self._place, self.kind.segment, record.name)
        properties = {
            "tags": {},
            "properties": {},
            **record.body["properties"],
            "latestVersion": newest.version if newest else None,
            "nextVersion": str(self._store.highest(self._versions, record.name) + 1),
            **self.kind.state,
        }
        return arm.resource(self._emulator, record, f"/{self.kind.segment}/{record.name}", self._place, properties=properties)

    # rules

    def _join_container(self, name: str, properties: Properties) -> None:
        """Give a first version its container; hold a later one to what the name stands for. Runs in the version's transaction."""
        fixed = {key: properties[key] for key in self.kind.container_fields if key in properties}

        def change(old: Body | None) -> Body:
            if old is None:
                return {"properties": {"isArchived": False, **fixed}}
            self._refuse_container_change(name, old["properties"], fixed)
            return old

        self._store.upsert(self._containers, name, "", change)

    def _refuse_container_change(self, name: str, old: Properties, new: Properties) -> None:
        for key in self.kind.container_fields:
            if key in old and key in new and old[key] != new[key]:
                raise bad_request(
                    f"The {self.kind.noun} '{name}' has {key} '{old[key]}': a version with {key} '{new[key]}' needs another name."
                )

    def _check_names(self, name: str, version: str | None = None) -> None:
        self.kind.name_rule.check(name, f"name of a {self.kind.noun}")
        if name.lower().startswith(self.kind.reserved):
            raise bad_request(
                f"'{name}': names of a {self.kind.noun} that begin so are reserved for Microsoft's own.", "UserError"
            )
        if version is not None:  # the description says nothing of versions; the service takes what it takes for models' names
            DOTTED.check(version, f"version of a {self.kind.noun}")

    def _query(self, call: Call, kind: str, name: str | None, usual_order: str) -> Query:
        by, _, direction = call.query.get("$orderBy", usual_order).lower().partition(" ")
        if by not in _ORDERS or direction not in ("", "asc", "desc"):
            raise bad_request("Please choose OrderBy value from ['createdtime', 'modifiedtime'], with 'asc' or 'desc'.")
        descending = direction == "desc"
        return Query(
            kind,
            name,
            archived=arm.archived(call),
            tags=arm.tags(call, "$tags") + arm.tags(call, "tags"),
            order=_ORDERS[by],
            newest_first=descending,
        )

    def _missing(self, what: str) -> AzureError:
        return not_found(f"Not found {self.kind.noun} {what}.")


def refuse_path_change(*fields: str) -> Callable[[str, Properties, Properties], None]:
    """A rule for `refuse_change`: these properties never change. Code and first sentence are Azure's (the SDK knows them)."""

    def refuse(what: str, old: Properties, new: Properties) -> None:
        for key in fields:
            if new.get(key, old.get(key)) != old.get(key):
                detail = f"{what} has {key} '{old.get(key)}' and cannot be given '{new[key]}': create a new version."
                raise AzureError(409, "UserError", f"Asset paths cannot be updated. {detail}")

    return refuse


def require(properties: Properties, *fields: str) -> None:
    """400 when a property is missing, empty or no string."""
    for key in fields:
        if not isinstance(properties.get(key), str) or not properties[key].strip():
            raise bad_request(f"The {key} field is required.", "ValidationError")

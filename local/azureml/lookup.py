"""From the id of an asset's version, in any form that Azure takes, to the version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.azureml import arm, curated
from local.azureml.arm import Place
from local.azureml.errors import AzureError, bad_request, not_supported
from local.azureml.queries import Query
from local.azureml.store import Record

if TYPE_CHECKING:
    from local.azureml.emulator import Emulator

REGISTRIES = "registries"
"""Store kind of the registries that were created here."""
_ASSET = r"(?P<kind>\w+)/(?P<name>[^/]+)/(?P<by>versions|labels)/(?P<version>[^/]+)"
_FORMS = (
    re.compile(rf"(?:azureml:)?(?P<workspace>/subscriptions/.+/workspaces/[^/]+)/{_ASSET}", re.IGNORECASE),
    re.compile(rf"(?:azureml:)?//registries/(?P<registry>[^/]+)/{_ASSET}", re.IGNORECASE),
    # As models.share names what it shares: the workspace by its guid.
    re.compile(rf"(?:azureml:)?//locations/[^/]+/workspaces/(?P<guid>[^/]+)/{_ASSET}", re.IGNORECASE),
)
_CURATED = re.compile(r"(?:azureml:)?(?P<name>AzureML-[^:@/]+)(?::(?P<version>[^:@/]+)|@(?P<label>[^:@/]+))", re.IGNORECASE)

# As the SDK sends the component of a pipeline job that is nothing but a component.
_SHORT = re.compile(r"azureml:(?P<name>[^:@/]+)(?::(?P<version>[^:@/]+)|@(?P<label>[^:@/]+))")


@dataclass(frozen=True)
class Found:
    """A version; `properties` is what its REST resource has there."""

    place: Place
    kind: str
    name: str
    version: str
    properties: dict[str, Any]

    @property
    def id(self) -> str:
        """Names this very version, though it was asked for by a label."""
        return f"{self.place.id}/{self.kind}/{self.name}/versions/{self.version}"


def find_version(emulator: Emulator, kind: str, reference: object) -> Found:
    """The version of `kind` ("models", "environments", "components", "codes", "data") that `reference` names.

    Forms: `[azureml:]/subscriptions/…/workspaces/<this one>/<kind>/<name>/versions/<version>`, the same with `/labels/latest`
    (of components `/labels/default` too),
    `azureml://registries/<registry>/<kind>/<name>/versions|labels/…`, `azureml://locations/…/workspaces/<guid>/<kind>/…`, and of
    curated environments `azureml:AzureML-<name>:<version>` or `@latest`, which of the workspace's assets must have its
    `azureml:` in front. All others with or without `azureml:` in front.

    Raises 400 for an id of another form, kind or workspace, and for a version that does not exist; 501 for another label.
    """
    place, name, version, label = _parts(emulator, kind, str(reference))
    if label is not None and label.lower() not in ("latest", *(["default"] if kind == "components" else [])):
        raise not_supported(f"the label '{label}' in '{reference}': the one label is 'latest'")
    if label is None:
        record = emulator.store.record(place.kind(kind), name, version) or curated.version(place, kind, name, version)
    else:
        record = newest(emulator, place, kind, name)
    if record is None:
        raise bad_request(
            f"{kind}/{name}/{f'labels/{label}' if label else f'versions/{version}'} does not exist ('{reference}')."
        )
    return Found(place, kind, record.name, record.version, record.body["properties"])


def kind_of(reference: str) -> str | None:
    """The kind of asset whose version `reference` names, by its form alone; None when it has no form of a full id."""
    match = next((found for form in _FORMS if (found := form.fullmatch(reference))), None)
    return match["kind"].lower() if match else None


def names_one_of(emulator: Emulator, place: Place, kind: str, reference: str, name: str, version: str | None) -> bool:
    """Whether `reference` names this version (None: any) of this asset; a label may name any."""
    try:
        where, found, number, label = _parts(emulator, kind, reference)
    except AzureError:  # an id of a registry that is gone names nothing any more
        return False
    return where == place and found == name and (label is not None or version in (None, number))


def newest(emulator: Emulator, place: Place, kind: str, name: str) -> Record | None:
    """What the label `latest` means: the newest of the active versions; None when there is none."""
    found = emulator.store.newest(Query(place.kind(kind), name, archived=False))
    return found or curated.version(place, kind, name, curated.LATEST)


def registry(emulator: Emulator, name: str) -> Place | None:
    """The place of a registry's assets; None when there is no registry of this name. Names have no case."""
    name = name.lower()
    if name != curated.REGISTRY and emulator.store.record(REGISTRIES, name) is None:
        return None
    return Place(f"azureml://registries/{name}", f"registries/{name}/", "Microsoft.MachineLearningServices/registries")


def _parts(emulator: Emulator, kind: str, reference: str) -> tuple[Place, str, str, str | None]:
    """Place, name, version ("" for a label) and label; 400 for what is no id of `kind`."""
    if kind == "environments" and (match := _CURATED.fullmatch(reference)):
        return arm.workspace(emulator), match["name"], match["version"] or "", match["label"]
    for form in _FORMS:
        match = form.fullmatch(reference)
        if match is None or match["kind"].lower() != kind:
            continue
        place = _place(emulator, match.groupdict())
        by_label = match["by"].lower() == "labels"
        return place, match["name"], "" if by_label else match["version"], match["version"] if by_label else None
    if match := _SHORT.fullmatch(reference):
        return arm.workspace(emulator), match["name"], match["version"] or "", match["label"]
    raise _strange(kind, reference)


def _place(emulator: Emulator, named: dict[str, str | None]) -> Place:
    here = arm.workspace(emulator)
    if named.get("registry"):
        found = registry(emulator, str(named["registry"]))
        if found is None:
            raise bad_request(f"The registry '{named['registry']}' does not exist.")
        return found
    if (guid := named.get("guid")) is not None:
        workspace = emulator.store.get("workspaces", emulator.settings.workspace) or {"properties": {}}
        if guid.lower() in (emulator.settings.workspace.lower(), workspace["properties"].get("workspaceId")):
            return here
        raise bad_request(f"There is no workspace '{guid}' here.")
    if str(named["workspace"]).lower() != here.id.lower():
        raise bad_request(f"'{named['workspace']}' is not this workspace.")
    return here


def _strange(kind: str, reference: str) -> AzureError:
    return bad_request(f"'{reference}' is not the id of a version in {kind} of this workspace or of a registry.")

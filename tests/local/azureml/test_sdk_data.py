"""Data assets through the unmodified MLClient: where they may lie, what of them changes, how they are listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.ai.ml import MLClient, load_data
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.data_transfer import Database
from azure.ai.ml.entities import Data, DataImport
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from local.azureml.emulator import Emulator
from local.azureml.storage import Location

Name = Callable[[str], str]
SHORT = "azureml://datastores/workspaceblobstore/paths/in/a.csv"


def test_data_may_lie_at_every_form_of_remote_path(ml_client: MLClient, emulator: Emulator, name: Name) -> None:
    long = f"azureml:/{emulator.workspace_id.replace('/providers/Microsoft.MachineLearningServices', '')}/datastores/"
    forms = [
        SHORT,
        f"{long}workspaceblobstore/paths/in/a.csv",
        f"{emulator.storage.container_url('azureml-blobstore')}/in/a.csv",
    ]
    for path in forms:
        asset = name("data")
        ml_client.data.create_or_update(Data(name=asset, version="1", path=path, type="uri_file"))
        read = ml_client.data.get(asset, "1")
        assert emulator.storage.resolve(read.path) == Location("azureml-blobstore", "in/a.csv")
        assert emulator.storage.resolve(read.id) == Location("azureml-blobstore", "in/a.csv")


def test_data_is_made_from_yaml(ml_client: MLClient, name: Name, tmp_path: Path) -> None:
    asset, file = name("data"), tmp_path / "data.yaml"
    (tmp_path / "a.csv").write_text("a,b\n")
    file.write_text(f"name: {asset}\nversion: v1\ntype: uri_file\npath: ./a.csv\ntags: {{from: yaml}}\n")
    ml_client.data.create_or_update(load_data(file))
    assert ml_client.data.get(asset, "v1").tags == {"from": "yaml"}


def test_tags_and_description_change_and_the_path_does_not(ml_client: MLClient, name: Name) -> None:
    asset = name("data")
    data = ml_client.data.create_or_update(Data(name=asset, version="1", path=SHORT, type="uri_file", tags={"a": "1"}))
    data.tags, data.description = {"b": "2"}, "sorted"
    ml_client.data.create_or_update(data)
    read = ml_client.data.get(asset, "1")
    assert (read.tags, read.description) == ({"b": "2"}, "sorted")
    with pytest.raises(ResourceExistsError, match="create a new version"):
        ml_client.data.create_or_update(Data(name=asset, version="1", path=f"{SHORT}.other", type="uri_file"))
    assert ml_client.data.get(asset, "1").path == read.path
    with pytest.raises(HttpResponseError, match="dataType"):
        ml_client.data.create_or_update(Data(name=asset, version="2", path=SHORT, type="uri_folder"))


def test_versions_that_are_no_numbers_leave_the_count_alone_and_latest_is_the_newest(ml_client: MLClient, name: Name) -> None:
    asset = name("data")
    for version in (None, "9", "2026-11-01", None):
        ml_client.data.create_or_update(Data(name=asset, version=version, path=SHORT, type="uri_file"))
    assert [one.version for one in ml_client.data.list(asset)] == ["10", "2026-11-01", "9", "1"]
    assert ml_client.data.get(asset, label="latest").version == "10"
    ml_client.data.archive(asset, label="latest")
    assert ml_client.data.get(asset, label="latest").version == "2026-11-01"
    ml_client.data.create_or_update(Data(name=asset, path=SHORT, type="uri_file"))
    assert ml_client.data.get(asset, label="latest").version == "11"
    ml_client.data.restore(asset, version="10")
    assert [one.version for one in ml_client.data.list(asset)] == ["11", "10", "2026-11-01", "9", "1"]
    with pytest.raises(ResourceNotFoundError):
        ml_client.data.get(asset, "12")


def test_lists_of_names_show_what_is_active_archived_or_both(ml_client: MLClient, name: Name) -> None:
    kept, archived = name("kept"), name("archived")
    for asset in (kept, archived):
        ml_client.data.create_or_update(Data(name=asset, version="1", path=SHORT, type="uri_file"))
    ml_client.data.archive(archived)

    def listed(view: ListViewType) -> set[str]:
        return {one.name for one in ml_client.data.list(list_view_type=view)} & {kept, archived}

    assert listed(ListViewType.ACTIVE_ONLY) == {kept}
    assert listed(ListViewType.ARCHIVED_ONLY) == {archived}
    assert listed(ListViewType.ALL) == {kept, archived}
    ml_client.data.restore(archived)
    assert listed(ListViewType.ACTIVE_ONLY) == {kept, archived}


def test_a_list_that_grows_while_it_is_read_neither_repeats_nor_skips(
    ml_client: MLClient, emulator: Emulator, name: Name
) -> None:
    asset = name("data")
    properties = {"dataUri": SHORT, "dataType": "uri_file", "isArchived": False}
    for number in range(150):
        emulator.store.put("data", asset, str(number), {"properties": properties})
    walk = iter(ml_client.data.list(asset))
    seen = [next(walk).version]
    for number in range(150, 160):
        emulator.store.put("data", asset, str(number), {"properties": properties})
    emulator.store.delete("data", asset, "100")
    seen += [one.version for one in walk]
    assert seen == [str(number) for number in reversed(range(150))]


def test_a_list_is_filtered_by_tags_and_ordered_by_change(http: httpx.Client, ml_client: MLClient, name: Name) -> None:
    asset = name("data")
    for version in ("1", "2", "3"):
        data = Data(name=asset, version=version, path=SHORT, type="uri_file", tags={"stage": "live" if version != "2" else "old"})
        ml_client.data.create_or_update(data)
    ml_client.data.create_or_update(Data(name=asset, version="1", path=SHORT, type="uri_file", tags={"stage": "live"}))

    def versions(**query: str) -> list[str]:
        answer: dict[str, Any] = http.get(f"/data/{asset}/versions", params=query).raise_for_status().json()
        return [one["name"] for one in answer["value"]]

    assert versions(**{"$tags": "stage=live"}) == ["3", "1"]
    assert versions(**{"$tags": "stage"}) == ["3", "2", "1"]
    assert versions(**{"$tags": "other"}) == []
    assert versions(**{"$orderBy": "modifiedtime desc"}) == ["1", "3", "2"]
    assert versions(**{"$orderBy": "createdtime asc", "$top": "2"}) == ["1", "2"]


@pytest.mark.parametrize(("top", "count"), [(5, 2), (4, 2), (1, 100), (100, 3)])
def test_a_list_is_cut_at_top_however_small_its_pages_are(
    http: httpx.Client, emulator: Emulator, name: Name, top: int, count: int
) -> None:
    asset = name("data")
    for number in range(7):
        emulator.store.put("data", asset, str(number), {"properties": {"dataUri": SHORT, "dataType": "uri_file"}})
    query, pages = {"$top": str(top), "count": str(count)}, list[list[str]]()
    while query:
        answer = http.get(f"/data/{asset}/versions", params=query).raise_for_status().json()
        pages.append([one["name"] for one in answer["value"]])
        query = dict(httpx.URL(answer.get("nextLink", "")).params)
    assert [one for page in pages for one in page] == ["6", "5", "4", "3", "2", "1", "0"][:top]
    assert max(len(page) for page in pages) <= count


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"$skip": "bm9uZQ=="}, "skip"),
        ({"$orderBy": "size"}, "OrderBy"),
        ({"listViewType": "Some"}, "ActiveOnly"),
        ({"$top": "0"}, "top"),
    ],
)
def test_a_list_refuses_options_that_it_does_not_understand(http: httpx.Client, query: dict[str, str], word: str) -> None:
    answer = http.get("/data/any/versions", params=query)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize("segment", ["data", "environments", "components", "models", "codes"])
def test_versions_and_names_are_deleted_once_and_then_not_found(
    http: httpx.Client, emulator: Emulator, name: Name, segment: str
) -> None:
    asset = name("asset")
    for version in ("1", "2", "3"):
        emulator.store.put(segment, asset, version, {"properties": {"isArchived": False}})
    typed = {"dataType": "uri_file"} if segment == "data" else {}
    emulator.store.put(f"{segment}.containers", asset, "", {"properties": {"isArchived": False, **typed}})
    path = f"/{segment}/{asset}"
    assert [http.delete(f"{path}/versions/3").status_code for _ in range(2)] == [200, 204]
    assert http.get(f"{path}/versions/3").status_code == 404
    assert http.get(path).json()["properties"]["latestVersion"] == "2"
    assert [http.delete(path).status_code for _ in range(2)] == [200, 204]
    assert (http.get(path).status_code, http.get(f"{path}/versions/1").status_code) == (404, 404)
    assert http.get(f"{path}/versions").json()["value"] == []


def test_what_is_not_there_is_refused_by_its_name(ml_client: MLClient, name: Name) -> None:
    wanted = DataImport(
        name=name("imported"),
        source=Database(query="select 1", connection="azureml:db"),
        path="azureml://datastores/workspaceblobstore",
    )
    with pytest.raises(HttpResponseError, match="import") as caught:
        ml_client.data.import_data(wanted)
    assert caught.value.status_code == 501
    with pytest.raises(HttpResponseError, match="featuresets") as caught:
        list(ml_client.feature_sets.list())
    assert caught.value.status_code == 501

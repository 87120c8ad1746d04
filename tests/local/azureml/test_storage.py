"""Where URIs point, and how files get in and out of the workspace's storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from local.azureml.emulator import Emulator
from local.azureml.errors import AzureError
from local.azureml.execution.materials import Materials
from local.azureml.storage import Location

Name = Callable[[str], str]
LONG = "azureml://subscriptions/s/resourcegroups/r/workspaces/w/datastores/workspaceblobstore/paths/a/b.csv"


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("azureml://datastores/workspaceblobstore/paths/a/b.csv", ("azureml-blobstore", "a/b.csv")),
        ("azureml://datastores/workspaceblobstore/paths/a/", ("azureml-blobstore", "a")),
        ("azureml://datastores/workspaceartifactstore/paths/a%20b", ("azureml", "a b")),
        (LONG, ("azureml-blobstore", "a/b.csv")),
        ("azureml://jobs/j/outputs/model", ("azureml-blobstore", "azureml/j/model")),
        ("azureml://jobs/j/outputs/model/paths/", ("azureml-blobstore", "azureml/j/model")),
        ("azureml://jobs/j/outputs/model/paths/sub/x.json", ("azureml-blobstore", "azureml/j/model/sub/x.json")),
    ],
)
def test_an_uri_leads_to_its_container_and_path(emulator: Emulator, uri: str, location: tuple[str, str]) -> None:
    assert emulator.storage.resolve(uri) == Location(*location)


def test_a_blobs_own_address_is_resolved(emulator: Emulator) -> None:
    url = emulator.storage.container_url("uploads") + "/in%20box/a.csv"
    assert emulator.storage.resolve(url) == Location("uploads", "in box/a.csv")


@pytest.mark.parametrize("place", [Location("azureml-blobstore", "a b/c.csv"), Location("no-datastores-container", "a b/c.csv")])
def test_a_places_uri_leads_back_to_it(emulator: Emulator, place: Location) -> None:
    assert emulator.storage.resolve(emulator.storage.datastore_uri(place)) == place


def test_a_jobs_output_goes_where_the_job_says(emulator: Emulator, name: Name) -> None:
    job = name("job")
    outputs = {"model": {"uri": "azureml://datastores/workspaceartifactstore/paths/elsewhere/"}}
    emulator.store.put("jobs", job, "", {"properties": {"outputs": outputs}})
    assert emulator.storage.resolve(f"azureml://jobs/{job}/outputs/model") == Location("azureml", "elsewhere")


def test_an_assets_id_leads_to_what_the_asset_points_to(emulator: Emulator, name: Name) -> None:
    asset = name("model")
    emulator.store.put("models", asset, "3", {"properties": {"modelUri": "azureml://jobs/j/outputs/model"}})
    arm_id = f"{emulator.workspace_id}/models/{asset}/versions/3"
    assert (
        emulator.storage.resolve(arm_id)
        == emulator.storage.resolve(f"azureml:{arm_id}")
        == Location("azureml-blobstore", "azureml/j/model")
    )


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("azureml://datastores/nowhere/paths/a", 404),
        ("azureml:/subscriptions/s/resourceGroups/r/providers/p/workspaces/w/data/none/versions/1", 400),
        ("https://example.org/container/blob", 400),
        ("../../etc/passwd", 400),
        ("", 400),
    ],
)
def test_an_uri_that_leads_nowhere_is_an_error_that_names_it(emulator: Emulator, uri: str, status: int) -> None:
    with pytest.raises(AzureError) as caught:
        emulator.storage.resolve(uri)
    assert caught.value.status == status


def test_a_folder_comes_back_as_it_went_in(emulator: Emulator, name: Name, tmp_path: Path) -> None:
    source, target, path = tmp_path / "in", tmp_path / "out", name("folder")
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "b.bin").write_bytes(bytes(range(256)))
    (source / "a.txt").write_text("a")
    emulator.storage.upload_folder(source, "azureml-blobstore", path)
    # A neighbour whose name begins alike is not part of the folder.
    emulator.storage.write("azureml-blobstore", f"{path}-2/c.txt", b"c")
    assert emulator.storage.download_to("azureml-blobstore", path, target) == target
    assert {file.relative_to(target).as_posix(): file.read_bytes() for file in target.rglob("*") if file.is_file()} == {
        "a.txt": b"a",
        "deep/er/b.bin": bytes(range(256)),
    }


def test_a_single_blob_comes_back_as_a_file(emulator: Emulator, name: Name, tmp_path: Path) -> None:
    path = f"{name('folder')}/a.csv"
    emulator.storage.write("azureml-blobstore", path, b"x")
    file = emulator.storage.download_to("azureml-blobstore", path, tmp_path)
    assert (file, file.read_bytes()) == (tmp_path / "a.csv", b"x")


def test_what_is_not_there_cannot_be_downloaded(emulator: Emulator, name: Name, tmp_path: Path) -> None:
    with pytest.raises(AzureError, match="no blob at or below"):
        emulator.storage.download_to("azureml-blobstore", name("nothing"), tmp_path)


def test_a_blob_cannot_be_written_outside_of_the_folder_it_is_downloaded_to(
    emulator: Emulator, name: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The SDKs tidy such names up before they are sent, so the listing is what is made up here.
    monkeypatch.setattr(type(emulator.storage), "list", lambda *_: ["folder/../../escaped.txt"])
    with pytest.raises(AzureError, match="outside"):
        emulator.storage.download_to("azureml-blobstore", "folder", tmp_path / "target")
    assert not (tmp_path / "escaped.txt").exists()


def test_a_folder_that_cannot_be_whole_is_an_error_and_code_of_it_is_not_kept(
    emulator: Emulator, name: Name, tmp_path: Path
) -> None:
    path = name("folder")
    for blob in ("clash", "clash/below.txt", *(f"{number}.txt" for number in range(30))):
        emulator.storage.write("azureml-blobstore", f"{path}/{blob}", b"x")  # a disk has no file that is a folder too
    with pytest.raises(OSError, match="clash"):
        emulator.storage.download_to("azureml-blobstore", path, tmp_path / "loose")
    materials = Materials(emulator, tmp_path / "materials")
    with pytest.raises(OSError, match="clash"):
        materials.code(f"azureml://datastores/workspaceblobstore/paths/{path}", tmp_path / "step")
    assert not list((tmp_path / "materials").rglob("*.txt"))
    emulator.storage.delete("azureml-blobstore", f"{path}/clash")
    whole = emulator.storage.download_to("azureml-blobstore", path, tmp_path / "whole")
    assert len([file for file in whole.rglob("*") if file.is_file()]) == 31

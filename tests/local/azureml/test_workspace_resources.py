"""The workspace, its connections, datastores and computes to the point the SDK's plain use needs: through the SDK, over HTTP."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from azure.ai.ml import Input, MLClient, Output
from azure.ai.ml.entities import (
    AccountKeyConfiguration,
    AmlCompute,
    APIKeyConnection,
    AzureBlobDatastore,
    AzureBlobStoreConnection,
    Data,
    PatTokenConfiguration,
    SasTokenConfiguration,
    WorkspaceConnection,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from local.azureml.emulator import Emulator
from local.storage.azurite import ACCOUNT, ACCOUNT_KEY

Name = Callable[[str], str]
SECRET = "a-secret-that-nothing-may-show"


# the workspace


def test_the_workspace_is_found_by_its_name_group_and_subscription(ml_client: MLClient) -> None:
    name = ml_client.workspace_name
    assert ml_client.workspaces.get(name).name == name
    assert [one.name for one in ml_client.workspaces.list()] == [name]
    assert [one.name for one in ml_client.workspaces.list(scope="subscription")] == [name]
    assert list(ml_client.workspaces.list(filtered_kinds=["hub"])) == []


def test_the_workspaces_keys_are_those_of_its_storage(ml_client: MLClient) -> None:
    keys = ml_client.workspaces.get_keys()
    assert keys is not None
    assert keys.user_storage_key == ACCOUNT_KEY
    assert str(keys.user_storage_resource_id).endswith(ACCOUNT)
    ml_client.workspaces.begin_sync_keys().result()


def test_a_workspace_is_neither_made_nor_deleted(http: httpx.Client) -> None:
    for answer in (http.put("", json={"location": "local"}), http.patch("", json={}), http.delete("")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "NotSupportedByEmulator")


# connections


def test_a_connection_is_made_listed_changed_and_deleted_and_only_list_secrets_shows_its_key(
    ml_client: MLClient, http: httpx.Client, emulator: Emulator, name: Name
) -> None:
    called = name("api")
    ml_client.connections.create_or_update(APIKeyConnection(name=called, api_base="https://one.example", api_key=SECRET))
    assert ml_client.connections.get(called).credentials.key is None
    assert ml_client.connections.get(called, populate_secrets=True).credentials.key == SECRET
    assert called in [one.name for one in ml_client.connections.list(connection_type="api_key")]
    assert called not in [one.name for one in ml_client.connections.list(connection_type="git")]
    assert SECRET not in http.get(f"/connections/{called}").text + http.get("/connections").text

    other = APIKeyConnection(name=called, api_base="https://two.example", api_key=SECRET[::-1], metadata={"a": "b"})
    assert ml_client.connections.create_or_update(other).target == "https://two.example"
    changed = ml_client.connections.get(called, populate_secrets=True)
    assert (changed.target, changed.metadata, changed.credentials.key) == ("https://two.example", {"a": "b"}, SECRET[::-1])

    ml_client.connections.delete(called)
    with pytest.raises(ResourceNotFoundError):
        ml_client.connections.get(called)
    assert http.delete(f"/connections/{called}").status_code == 204
    assert not any(SECRET[::-1].encode() in file.read_bytes() for file in _secret_files(emulator))


def test_connections_to_data_are_listed_when_they_are_asked_for(ml_client: MLClient, http: httpx.Client, name: Name) -> None:
    git = WorkspaceConnection(
        name=name("git"), type="git", target="https://git.example", credentials=PatTokenConfiguration(pat=SECRET)
    )
    key = AccountKeyConfiguration(account_key=SECRET)
    blob = AzureBlobStoreConnection(
        name=name("blob"), url="https://blob.example", container_name="c", account_name="a", credentials=key
    )
    for one in (git, blob):
        ml_client.connections.create_or_update(one)
    plain = {one.name for one in ml_client.connections.list()}
    # azure-ai-ml 1.35 sends includeAll=false whatever its include_data_connections says.
    everything = {one["name"] for one in http.get("/connections", params={"includeAll": "true"}).json()["value"]}
    assert git.name in plain
    assert blob.name not in plain
    assert {git.name, blob.name} <= everything


def test_a_secret_lies_in_no_document_and_in_files_of_its_owner_alone(
    http: httpx.Client, emulator: Emulator, name: Name, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    properties = {"authType": "ApiKey", "category": "ApiKey", "target": "https://x", "credentials": {"key": SECRET}}
    http.put(f"/connections/{name('c')}", json={"properties": properties}).raise_for_status()
    assert SECRET not in caplog.text
    assert SECRET not in str(emulator.store.list("connections"))
    files = _secret_files(emulator)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700


def _secret_files(emulator: Emulator) -> list[Path]:
    return list((emulator.folder / "secrets").iterdir())


# datastores


@pytest.fixture
def container(emulator: Emulator, name: Name) -> str:
    """A container beside the workspace's own, with one blob."""
    called = name("lake")
    emulator.storage.create_container(called)
    emulator.storage.write(called, "raw/a.csv", b"a\n1\n")
    return called


@pytest.mark.parametrize("kind", ["AccountKey", "Sas", "None"])
def test_a_datastore_for_another_container_is_made_found_and_deleted(
    ml_client: MLClient, http: httpx.Client, emulator: Emulator, container: str, name: Name, kind: str
) -> None:
    called = name("store")
    sas = emulator.storage.container_sas(container, "rl")
    credentials = {
        "AccountKey": AccountKeyConfiguration(account_key=ACCOUNT_KEY),
        "Sas": SasTokenConfiguration(sas_token=sas),
        "None": None,
    }[kind]
    made = AzureBlobDatastore(
        name=called, account_name=ACCOUNT, container_name=container, credentials=credentials, tags={"a": "b"}
    )
    ml_client.datastores.create_or_update(made)
    found = ml_client.datastores.get(called)
    assert (found.container_name, found.tags) == (container, {"a": "b"})
    assert called in [one.name for one in ml_client.datastores.list()]
    assert ml_client.datastores.get_default().name == "workspaceblobstore"
    assert ACCOUNT_KEY not in http.get(f"/datastores/{called}").text

    # An account key itself is given only to who does not ask for something that expires; the SDK always does.
    secret = http.post(f"/datastores/{called}/listSecrets", json={})
    if kind == "None":
        assert (secret.status_code, secret.json()["error"]["code"]) == (400, "UserError")
    else:
        expected = {"AccountKey": {"key": ACCOUNT_KEY}, "Sas": {"sasToken": sas}}[kind]
        assert secret.json() == {"secretsType": kind, **expected}
        shown = ml_client.datastores.get(called, include_secrets=True).credentials.sas_token
        blob = httpx.get(
            f"{emulator.storage.container_url(container)}/raw/a.csv?{shown}", verify=emulator.certificates.ssl_context()
        )
        assert blob.text == "a\n1\n"
    assert emulator.storage.resolve(f"azureml://datastores/{called}/paths/raw/") == (container, "raw")
    ml_client.datastores.delete(called)
    with pytest.raises(ResourceNotFoundError):
        ml_client.datastores.get(called)
    assert emulator.storage.read(container, "raw/a.csv") == b"a\n1\n"


def test_local_files_are_uploaded_to_a_datastore_that_was_made(
    ml_client: MLClient, emulator: Emulator, container: str, name: Name, tmp_path: Path
) -> None:
    key = AccountKeyConfiguration(account_key=ACCOUNT_KEY)
    made = AzureBlobDatastore(name=name("store"), account_name=ACCOUNT, container_name=container, credentials=key)
    ml_client.datastores.create_or_update(made)
    (tmp_path / "b.csv").write_text("b\n2\n")
    data = Data(name=name("data"), path=str(tmp_path / "b.csv"), type="uri_file", datastore=made.name)
    version = ml_client.data.create_or_update(data)
    assert f"/datastores/{made.name}/" in version.path
    location = emulator.storage.resolve(version.path)
    assert location.container == container
    assert emulator.storage.read(*location) == b"b\n2\n"


def test_a_job_reads_and_writes_through_a_datastore_that_was_made(
    ml_client: MLClient, emulator: Emulator, container: str, name: Name
) -> None:
    from azure.ai.ml import command

    store = name("store")
    key = AccountKeyConfiguration(account_key=ACCOUNT_KEY)
    ml_client.datastores.create_or_update(
        AzureBlobDatastore(name=store, account_name=ACCOUNT, container_name=container, credentials=key)
    )
    job = command(
        name=name("job"),
        command="cp ${{inputs.raw}} ${{outputs.copy}}/copied.csv",
        environment=f"{emulator.workspace_id}/environments/{_environment(ml_client, name)}/versions/1",
        compute="cpu-cluster",
        inputs={"raw": Input(type="uri_file", path=f"azureml://datastores/{store}/paths/raw/a.csv")},
        outputs={"copy": Output(type="uri_folder", path=f"azureml://datastores/{store}/paths/out/")},
    )
    ml_client.jobs.create_or_update(job)
    assert emulator.jobs.wait(job.name, 60)
    assert ml_client.jobs.get(job.name).status == "Completed"
    assert emulator.storage.read(container, "out/copied.csv") == b"a\n1\n"


def _environment(ml_client: MLClient, name: Name) -> str:
    from azure.ai.ml.entities import Environment

    return str(ml_client.environments.create_or_update(Environment(name=name("env"), version="1", image="python:3.11")).name)


def test_what_a_datastore_cannot_be_is_refused(http: httpx.Client, container: str, name: Name) -> None:
    def put(called: str, **changes: object) -> tuple[int, str]:
        properties = {
            "datastoreType": "AzureBlob",
            "accountName": ACCOUNT,
            "containerName": container,
            "credentials": {
                "credentialsType": "AccountKey",
                "secrets": {"secretsType": "AccountKey", "key": ACCOUNT_KEY},
            },
            **changes,
        }
        answer = http.put(f"/datastores/{called}", json={"properties": properties})
        return answer.status_code, "" if answer.is_success else answer.json()["error"]["message"]

    wrong = {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": "d3Jvbmc="}}
    for changes, status, said in (
        ({"accountName": "elsewhere"}, 501, "elsewhere"),
        ({"containerName": "No_Container"}, 400, "No_Container"),
        ({"containerName": "not-there"}, 400, "does not exist"),
        ({"credentials": wrong}, 400, "account key"),
    ):
        got, message = put(name("store"), **changes)
        assert (got, said in message) == (status, True), message
    assert put("workspaceblobstore")[0] == 501
    assert http.delete("/datastores/workspaceblobstore").status_code == 400
    assert put(name("store"))[0] == 201


def test_a_datastore_with_a_wrong_key_is_kept_as_azure_keeps_it_and_fails_who_reads_it(
    ml_client: MLClient, emulator: Emulator, container: str, name: Name
) -> None:
    key = AccountKeyConfiguration(account_key="d3Jvbmc=")
    made = AzureBlobDatastore(name=name("store"), account_name=ACCOUNT, container_name=container, credentials=key)
    ml_client.datastores.create_or_update(made)
    with pytest.raises(Exception, match="account key is not that of the storage account"):
        emulator.storage.resolve(f"azureml://datastores/{made.name}/paths/raw/a.csv")


# computes


def test_a_computes_nodes_sizes_and_usage_can_be_asked_for(ml_client: MLClient, name: Name) -> None:
    cluster = AmlCompute(name=name("c")[:24], size="Standard_DS3_v2", min_instances=0, max_instances=2)
    ml_client.compute.begin_create_or_update(cluster).result()
    assert list(ml_client.compute.list_nodes(cluster.name)) == []
    sizes = {size.name: size for size in ml_client.compute.list_sizes()}
    assert "Standard_DS3_v2" in sizes
    assert [size.name for size in ml_client.compute.list_sizes(compute_type="amlcompute")] == list(sizes)
    # azure-ai-ml copies the answer's fields under their REST names beside its own, which stay None.
    assert {vars(usage)["currentValue"] for usage in ml_client.compute.list_usage()} == {0}
    with pytest.raises(HttpResponseError):
        list(ml_client.compute.list_nodes("no-such-cluster"))
    ml_client.compute.begin_delete(cluster.name).result()

"""What Azure refuses, in one table: the request, and the status, code and piece of the message that it gets.

`azure` says how sure we are that Azure answers so. `confirmed`: status, code and words are in Microsoft's documentation, its SDK
or public issues. `rule`: that it is refused is documented, the words are ours. `believed`: neither was found; the rule is common
sense. `ours`: the emulator refuses by name what it does not do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import httpx
import jwt
import pytest

from local.azureml.emulator import Emulator

DATA = {"dataUri": "azureml://datastores/workspaceblobstore/paths/x/", "dataType": "uri_folder"}
MODEL = {"modelUri": "azureml://datastores/workspaceblobstore/paths/m/", "modelType": "custom_model"}
IMAGE = {"image": "python:3.11"}
SPEC = {
    "type": "command",
    "command": "echo ${{inputs.text}}",
    "environment": "azureml:{ws}/environments/refused/versions/1",
    "inputs": {"text": {"type": "string"}, "folder": {"type": "uri_folder", "optional": True}},
}
COMMAND = {
    "jobType": "Command",
    "command": "echo ${{inputs.text}}",
    "environmentId": "{ws}/environments/refused/versions/1",
    "computeId": "{ws}/computes/cpu-cluster",
    "inputs": {"text": {"jobInputType": "literal", "value": "hello"}},
}
CRON = {"triggerType": "Cron", "expression": "0 6 * * *", "timeZone": "UTC"}
DEPLOYMENT = {
    "endpointComputeType": "Managed",
    "instanceType": "Standard_DS3_v2",
    "model": "{ws}/models/refused/versions/1",
    "environmentId": "{ws}/environments/refused/versions/1",
    "codeConfiguration": {"codeId": "{ws}/codes/none/versions/1", "scoringScript": "score.py"},
}


def pipeline(**inputs: Any) -> dict[str, Any]:
    node = {"type": "command", "componentId": "{ws}/components/refused/versions/1", "inputs": inputs, "computeId": "cpu-cluster"}
    return {"jobType": "Pipeline", "jobs": {"step": node}}


def literal(value: str) -> dict[str, str]:
    return {"job_input_type": "literal", "value": value}


def monthly(**pattern: Any) -> dict[str, Any]:
    trigger = {"triggerType": "Recurrence", "frequency": "Month", "interval": 1, "schedule": pattern}
    return {"trigger": trigger, "action": {"actionType": "CreateJob", "jobDefinition": COMMAND}}


class Row(NamedTuple):
    """`properties` stand for a body of their own; `{ws}` in it is the workspace's ARM id. `more`: of the body beside them."""

    what: str
    request: str
    properties: Any
    status: int
    code: str
    says: str
    azure: Literal["confirmed", "rule", "believed", "ours"]
    more: dict[str, Any] = {}  # noqa: RUF012 - read only


HERE = {"location": "local"}
TABLE = [
    # names and lengths
    Row("data: a dot", "PUT /data/a.b/versions/1", DATA, 400, "ValidationError", "a.b", "rule"),
    Row("data: too long", f"PUT /data/{'a' * 256}/versions/1", DATA, 400, "ValidationError", "1 to 255", "rule"),
    Row("model: begins with a dash", "PUT /models/-m/versions/1", MODEL, 400, "ValidationError", "-m", "rule"),
    Row("environment: a blank", "PUT /environments/a b/versions/1", IMAGE, 400, "ValidationError", "a b", "rule"),
    Row("component: a bang", "PUT /components/c!/versions/1", {"componentSpec": SPEC}, 400, "ValidationError", "c!", "rule"),
    Row("version: a blank", "PUT /models/m/versions/1 2", MODEL, 400, "ValidationError", "1 2", "believed"),
    Row("job: a dot", "PUT /jobs/a.b", COMMAND, 400, "ValidationError", "a.b", "rule"),
    Row("endpoint: too short", "PUT /onlineEndpoints/ab", {"authMode": "Key"}, 400, "BadArgument", "3 to 32", "rule", HERE),
    Row("endpoint: an underscore", "PUT /onlineEndpoints/a_b_c", {"authMode": "Key"}, 400, "BadArgument", "a_b_c", "rule", HERE),
    Row(
        "deployment: too long",
        f"PUT /onlineEndpoints/refused/deployments/{'d' * 33}",
        DEPLOYMENT,
        400,
        "BadArgument",
        "3 to 32",
        "rule",
        HERE,
    ),
    Row(
        "compute: too long",
        f"PUT /computes/{'c' * 33}",
        {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS3_v2", "scaleSettings": {"maxNodeCount": 1}}},
        400,
        "ValidationError",
        "32",
        "rule",
        HERE,
    ),
    Row("schedule: a dot", "PUT /schedules/a.b", monthly(hours=[6], minutes=[0]), 400, "ValidationError", "a.b", "rule"),
    Row(
        "datastore: a dot",
        "PUT /datastores/a.b",
        {"datastoreType": "AzureBlob", "credentials": {"credentialsType": "None"}},
        400,
        "ValidationError",
        "a.b",
        "rule",
    ),
    Row(
        "connection: too short",
        "PUT /connections/ab",
        {"authType": "None", "category": "Git", "target": "https://x"},
        400,
        "ValidationError",
        "3 to 33",
        "rule",
    ),
    # versions never change
    Row(
        "data: another path",
        "PUT /data/refused/versions/1",
        {**DATA, "dataUri": DATA["dataUri"] + "y/"},
        409,
        "UserError",
        "Asset paths cannot be updated",
        "confirmed",
    ),
    Row(
        "data: another type",
        "PUT /data/refused/versions/2",
        {**DATA, "dataType": "uri_file"},
        400,
        "UserError",
        "dataType 'uri_folder'",
        "rule",
    ),
    Row(
        "model: another path",
        "PUT /models/refused/versions/1",
        {**MODEL, "modelUri": MODEL["modelUri"] + "y/"},
        409,
        "UserError",
        "Asset paths cannot be updated",
        "confirmed",
    ),
    Row(
        "environment: another image",
        "PUT /environments/refused/versions/1",
        {"image": "python:3.12"},
        409,
        "Conflict",
        "image",
        "rule",
    ),
    Row(
        "component: another command",
        "PUT /components/refused/versions/1",
        {"componentSpec": {**SPEC, "command": "rm -r /"}},
        409,
        "UserError",
        "immutable",
        "rule",
    ),
    Row("job: another definition", "PUT /jobs/refused", {**COMMAND, "command": "echo x"}, 400, "UserError", "refused", "rule"),
    # references
    Row(
        "job: unknown compute",
        "PUT /jobs/refused-1",
        {**COMMAND, "computeId": "{ws}/computes/none"},
        400,
        "UserError",
        "Unknown compute target 'none'",
        "confirmed",
    ),
    Row(
        "job: unknown environment",
        "PUT /jobs/refused-1",
        {**COMMAND, "environmentId": "{ws}/environments/none/versions/1"},
        400,
        "UserError",
        "none",
        "rule",
    ),
    Row(
        "job: unknown code",
        "PUT /jobs/refused-1",
        {**COMMAND, "codeId": "{ws}/codes/none/versions/1"},
        400,
        "UserError",
        "codes/none",
        "rule",
    ),
    Row(
        "job: unknown component",
        "PUT /jobs/refused-1",
        {"jobType": "Pipeline", "jobs": {"s": {"type": "command", "componentId": "{ws}/components/none/versions/1"}}},
        400,
        "UserError",
        "components/none",
        "rule",
    ),
    Row(
        "job: unknown data",
        "PUT /jobs/refused-1",
        {
            **pipeline(text=literal("x"), folder=literal("${{parent.inputs.f}}")),
            "inputs": {"f": {"jobInputType": "uri_folder", "uri": "{ws}/data/none/versions/1"}},
        },
        400,
        "UserError",
        "none",
        "rule",
    ),
    Row(
        "job: unknown datastore",
        "PUT /jobs/refused-1",
        {
            **COMMAND,
            "outputs": {"o": {"jobOutputType": "uri_folder", "uri": "azureml://datastores/none/paths/x/"}},
        },
        404,
        "UserError",
        "Datastore 'none'",
        "rule",
    ),
    Row(
        "deployment: unknown model",
        "PUT /onlineEndpoints/refused/deployments/blue",
        {**DEPLOYMENT, "model": "{ws}/models/none/versions/1"},
        400,
        "UserError",
        "models/none",
        "rule",
        HERE,
    ),
    Row(
        "deployment: unknown endpoint",
        "PUT /onlineEndpoints/no-such-endpoint/deployments/blue",
        DEPLOYMENT,
        404,
        "ResourceNotFound",
        "no-such-endpoint",
        "rule",
        HERE,
    ),
    # inputs
    Row("job: a required input is missing", "PUT /jobs/refused-1", pipeline(), 400, "UserError", "text", "rule"),
    Row(
        "job: an unknown input",
        "PUT /jobs/refused-1",
        pipeline(text=literal("x"), other=literal("y")),
        400,
        "UserError",
        "other",
        "rule",
    ),
    Row(
        "job: an unknown reference in the command",
        "PUT /jobs/refused-1",
        {**COMMAND, "command": "echo ${{inputs.nothing}}"},
        400,
        "UserError",
        "nothing",
        "rule",
    ),
    # traffic, mirrors, deletion, operations under way
    Row(
        "traffic to nobody",
        "PUT /onlineEndpoints/refused",
        {"authMode": "Key", "traffic": {"none": 100}},
        400,
        "UserError",
        "none",
        "rule",
        HERE,
    ),
    Row(
        "traffic that is no 100",
        "PUT /onlineEndpoints/refused-traffic",
        {"authMode": "Key", "traffic": {"blue": 60}},
        400,
        "UserError",
        "sum to 0 or 100",
        "rule",
        HERE,
    ),
    Row(
        "a mirror of more than half",
        "PUT /onlineEndpoints/refused-traffic",
        {"authMode": "Key", "traffic": {"blue": 100}, "mirrorTraffic": {"green": 60}},
        400,
        "UserError",
        "50",
        "rule",
        HERE,
    ),
    Row(
        "a mirror to two",
        "PUT /onlineEndpoints/refused-traffic",
        {"authMode": "Key", "traffic": {"blue": 100}, "mirrorTraffic": {"green": 10, "red": 10}},
        400,
        "UserError",
        "one deployment",
        "rule",
        HERE,
    ),
    Row(
        "a mirror to who is live",
        "PUT /onlineEndpoints/refused-traffic",
        {"authMode": "Key", "traffic": {"blue": 100}, "mirrorTraffic": {"blue": 10}},
        400,
        "UserError",
        "live traffic",
        "rule",
        HERE,
    ),
    Row(
        "deletion of who is live",
        "DELETE /onlineEndpoints/refused-traffic/deployments/blue",
        None,
        400,
        "UserError",
        "has traffic",
        "rule",
    ),
    Row(
        "a change during another",
        "PUT /onlineEndpoints/refused-busy",
        {"authMode": "Key"},
        409,
        "Conflict",
        "ongoing operation",
        "rule",
        HERE,
    ),
    Row("deletion during a change", "DELETE /onlineEndpoints/refused-busy", None, 409, "Conflict", "ongoing operation", "rule"),
    Row(
        "more deployments than the quota",
        "PUT /onlineEndpoints/refused-full/deployments/one-more",
        {**DEPLOYMENT, "codeConfiguration": None, "model": "{ws}/models/refused-mlflow/versions/1"},
        400,
        "OutOfQuota",
        "the most that an endpoint may have",
        "rule",
        HERE,
    ),
    Row("deletion of the workspace's datastore", "DELETE /datastores/workspaceblobstore", None, 400, "UserError", "", "believed"),
    # triggers
    Row(
        "cron of four fields",
        "PUT /schedules/refused",
        {"trigger": {**CRON, "expression": "0 6 * *"}, "action": {"actionType": "CreateJob", "jobDefinition": COMMAND}},
        400,
        "ValidationError",
        "cron",
        "rule",
    ),
    Row("hour 24", "PUT /schedules/refused", monthly(hours=[24], minutes=[0]), 400, "ValidationError", "hours", "rule"),
    # bodies
    Row("malformed JSON", "PUT /data/refused-1/versions/1", b"{", 400, "InvalidRequestContent", "deserialized", "confirmed"),
    Row("no body", "PUT /data/refused-1/versions/1", b"", 400, "InvalidRequestContent", "body is required", "believed"),
    Row(
        "no location",
        "PUT /onlineEndpoints/refused",
        {"authMode": "Key"},
        400,
        "LocationRequired",
        "The location property is required for this definition.",
        "confirmed",
    ),
    Row(
        "a missing field",
        "PUT /data/refused-1/versions/1",
        {"dataType": "uri_file"},
        400,
        "ValidationError",
        "The dataUri field is required.",
        "rule",
    ),
    Row(
        "a wrong type deep inside",
        "PUT /jobs/refused-1",
        {**COMMAND, "resources": {"instanceCount": "two"}},
        400,
        "ValidationError",
        "properties.resources.instanceCount",
        "rule",
    ),
    Row(
        "a value that no enum has",
        "PUT /jobs/refused-1",
        {**COMMAND, "inputs": {"text": {"jobInputType": "poem", "value": "x"}}},
        400,
        "ValidationError",
        "properties.inputs.text.jobInputType",
        "rule",
    ),
    Row(
        "no duration",
        "PUT /jobs/refused-1",
        {**COMMAND, "limits": {"jobLimitsType": "Command", "timeout": "5 minutes"}},
        400,
        "ValidationError",
        "properties.limits.timeout",
        "rule",
    ),
    Row(
        "a field that nobody knows",
        "PUT /data/refused-1/versions/1",
        {**DATA, "colour": "blue"},
        400,
        "UnknownField",
        "'colour'",
        "ours",
    ),
    Row("an option that nobody honours", "GET /jobs?orderBy=name", None, 501, "NotSupportedByEmulator", "orderBy", "ours"),
    Row("a page before the first", "GET /data/refused/versions?$top=0", None, 400, "UserError", "$top", "believed"),
    Row("a route that is not there", "GET /featuresets", None, 501, "NotSupportedByEmulator", "GET", "ours"),
    Row(
        "a datastore of files",
        "PUT /datastores/files",
        {
            "datastoreType": "AzureFile",
            "accountName": "a",
            "fileShareName": "s",
            "credentials": {"credentialsType": "None"},
        },
        501,
        "NotSupportedByEmulator",
        "AzureFile",
        "ours",
    ),
    # what is not there
    Row("a version that is not there", "GET /data/refused/versions/9", None, 404, "UserError", "refused:9", "rule"),
    Row("a job that is not there", "GET /jobs/refused-9", None, 404, "UserError", "refused-9", "rule"),
    Row("a compute that is not there", "GET /computes/none", None, 404, "ResourceNotFound", "none", "confirmed"),
]


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client with a token, and what the rows refuse to change."""
    token, _ = emulator.tokens.issue("https://management.azure.com/")
    base, trust = emulator.base_url + emulator.workspace_id, emulator.certificates.ssl_context()
    headers, version = {"Authorization": f"Bearer {token}"}, {"api-version": "2024-04-01"}
    with httpx.Client(base_url=base, headers=headers, params=version, verify=trust) as http:
        for path, properties in (
            ("data/refused/versions/1", DATA),
            ("models/refused/versions/1", MODEL),
            ("models/refused-mlflow/versions/1", {**MODEL, "modelType": "mlflow_model"}),
            ("environments/refused/versions/1", IMAGE),
            ("components/refused/versions/1", {"componentSpec": SPEC}),
            ("jobs/refused", COMMAND),
        ):
            http.put(f"/{path}", json={"properties": filled(properties, emulator)}).raise_for_status()
        _endpoints(emulator)
        yield http
    # Half-made documents are nothing for the other tests of the session to find.
    for kind in ("onlineDeployments", "onlineEndpoints"):
        for record in emulator.store.records(kind):
            if record.name.startswith("refused"):
                emulator.store.delete(kind, record.name, record.version)


def _endpoints(emulator: Emulator) -> None:
    """Endpoints in states that would take a minute of real deployments; the documents are as those leave them."""
    put = emulator.store.put
    base: dict[str, Any] = {"authMode": "Key", "traffic": {}, "mirrorTraffic": {}, "provisioningState": "Succeeded"}
    states: dict[str, dict[str, Any]] = {
        "refused": {},
        "refused-traffic": {"traffic": {"blue": 100}},
        "refused-busy": {"provisioningState": "Updating"},
        "refused-full": {},
    }
    for name, changes in states.items():
        put("onlineEndpoints", name, "", {"location": "local", "tags": {}, "properties": {**base, **changes}})
    for name, deployments in (("refused-traffic", ["blue", "green", "red"]), ("refused-full", [f"d-{n}" for n in range(20)])):
        for deployment in deployments:
            body = {"location": "local", "tags": {}, "sku": {"capacity": 1}, "properties": {"provisioningState": "Succeeded"}}
            put("onlineDeployments", name, deployment, body)


def filled(value: Any, emulator: Emulator) -> Any:
    """`{ws}` in every text."""
    if isinstance(value, dict):
        return {key: filled(one, emulator) for key, one in value.items()}
    return value.replace("{ws}", emulator.workspace_id) if isinstance(value, str) else value


@pytest.mark.parametrize("row", TABLE, ids=[row.what for row in TABLE])
def test_what_azure_refuses_is_refused(client: httpx.Client, emulator: Emulator, row: Row) -> None:
    method, _, path = row.request.partition(" ")
    path, _, options = path.partition("?")
    query = {**client.params, **dict(option.split("=", 1) for option in options.split("&") if option)}
    if isinstance(row.properties, bytes):
        answer = client.request(method, path, content=row.properties, headers={"Content-Type": "application/json"})
    else:
        body = None if row.properties is None else {"properties": filled(row.properties, emulator), **row.more}
        answer = client.request(method, path, json=body, params=query)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (row.status, row.code), error
    assert row.says in error["message"]


def test_at_least_twenty_refusals_are_azures_own() -> None:
    assert len([row for row in TABLE if row.azure != "ours"]) >= 20
    assert len({row.what for row in TABLE}) == len(TABLE)


# who asks, and where: no token or the wrong one, another workspace


def _signed(emulator: Emulator, **claims: Any) -> str:
    """A token that this emulator issued, with other claims."""
    issued, _ = emulator.tokens.issue("https://management.azure.com/")
    now = {**jwt.decode(issued, options={"verify_signature": False}), **claims}
    return jwt.encode(now, emulator.tokens.key_file.read_text(), algorithm=jwt.get_unverified_header(issued)["alg"])


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("none", "AuthenticationFailed", "The 'Authorization' header is missing."),
        ("made up", "InvalidAuthenticationToken", "The access token is invalid."),
        ("expired", "ExpiredAuthenticationToken", "The access token expiry UTC time"),
        ("for somebody else", "InvalidAuthenticationTokenAudience", "wrong audience or resource"),
    ],
)
def test_who_may_not_ask_is_told_why(emulator: Emulator, what: str, code: str, says: str) -> None:
    storage, _ = emulator.tokens.issue("https://storage.azure.com/")
    tokens = {"made up": "a.b.c", "expired": _signed(emulator, exp=int(time.time()) - 1), "for somebody else": storage}
    headers = {"Authorization": f"Bearer {tokens[what]}"} if what in tokens else {}
    url, trust = f"{emulator.base_url}{emulator.workspace_id}/data", emulator.certificates.ssl_context()
    answer = httpx.get(url, params={"api-version": "2024-04-01"}, headers=headers, verify=trust)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
    assert says in answer.json()["error"]["message"]


def test_a_sas_that_has_expired_opens_nothing(emulator: Emulator) -> None:
    storage, trust = emulator.storage, emulator.certificates.ssl_context()
    storage.write("azureml-blobstore", "refused/a.txt", b"secret")
    url = f"{storage.container_url('azureml-blobstore')}/refused/a.txt"
    assert httpx.get(f"{url}?{storage.container_sas('azureml-blobstore')}", verify=trust).content == b"secret"
    late = httpx.get(f"{url}?{storage.container_sas('azureml-blobstore', hours=-0.01)}", verify=trust)
    assert (late.status_code, late.headers["x-ms-error-code"]) == (403, "AuthorizationFailure")
    assert b"secret" not in late.content

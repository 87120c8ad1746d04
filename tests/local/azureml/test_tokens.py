"""Who gets a token, and who gets in with it."""

from __future__ import annotations

import time

import httpx
import jwt
import pytest

from local.azureml.emulator import Emulator

VERSION = {"api-version": "2024-04-01"}


def ask(stranger: httpx.Client, resource: str, header: str) -> httpx.Response:
    query = {"api-version": "2019-08-01", "resource": resource}
    return stranger.get("/msi/token", params=query, headers={"X-IDENTITY-HEADER": header})


def call(stranger: httpx.Client, emulator: Emulator, token: str | None) -> httpx.Response:
    headers = {} if token is None else {"Authorization": token}
    return stranger.get(emulator.workspace_id, params=VERSION, headers=headers)


@pytest.mark.parametrize("resource", ["https://storage.azure.com", "https://ml.azure.local", "https://127.0.0.1:1/"])
def test_a_token_is_a_jwt_for_the_resource_that_was_asked_for(stranger: httpx.Client, emulator: Emulator, resource: str) -> None:
    body = ask(stranger, resource, emulator.settings.identity_header).json()
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["aud"] == resource.rstrip("/")
    assert int(body["expires_on"]) == claims["exp"] > time.time()
    assert (body["resource"], body["token_type"]) == (resource, "Bearer")


@pytest.mark.parametrize("header", [None, b"", b"wrong", b"header-of-the-test", b"\xfc"])
def test_without_the_identity_header_there_is_no_token(stranger: httpx.Client, header: bytes | None) -> None:
    headers = [] if header is None else [(b"x-identity-header", header)]
    response = stranger.get("/msi/token", params={"resource": "https://storage.azure.com"}, headers=headers)
    assert response.status_code == 401
    assert "access_token" not in response.text


@pytest.mark.parametrize("resource", ["", "storage", "http://storage.azure.com", "https://"])
def test_a_token_for_no_resource_is_refused(stranger: httpx.Client, emulator: Emulator, resource: str) -> None:
    assert ask(stranger, resource, emulator.settings.identity_header).status_code == 400


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, "AuthenticationFailed"),
        ("Basic abc", "AuthenticationFailed"),
        ("Bearer", "AuthenticationFailed"),
        ("Bearer opaque", "InvalidAuthenticationToken"),
    ],
)
def test_without_a_valid_token_nobody_gets_in(stranger: httpx.Client, emulator: Emulator, token: str | None, code: str) -> None:
    response = call(stranger, emulator, token)
    assert (response.status_code, response.json()["error"]["code"]) == (401, code)
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")


def test_a_token_that_somebody_else_signed_is_refused(stranger: httpx.Client, emulator: Emulator) -> None:
    forged = jwt.encode({"aud": emulator.base_url, "exp": time.time() + 60}, "0" * 64, algorithm="HS256")
    unsigned = jwt.encode({"aud": emulator.base_url, "exp": time.time() + 60}, "", algorithm="none")
    for token in (forged, unsigned):
        response = call(stranger, emulator, f"Bearer {token}")
        assert (response.status_code, response.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")


def test_an_expired_token_is_refused(stranger: httpx.Client, emulator: Emulator) -> None:
    key = (emulator.settings.state / "identity" / "signing.key").read_text()
    expired = jwt.encode({"aud": emulator.base_url, "exp": time.time() - 60}, key, algorithm="HS256")
    assert call(stranger, emulator, f"Bearer {expired}").json()["error"]["code"] == "ExpiredAuthenticationToken"


@pytest.mark.parametrize("audience", ["https://storage.azure.com", "https://ml.azure.local"])
def test_a_token_for_another_service_is_refused(stranger: httpx.Client, emulator: Emulator, audience: str) -> None:
    token, _ = emulator.tokens.issue(audience)
    response = call(stranger, emulator, f"Bearer {token}")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "InvalidAuthenticationTokenAudience")


@pytest.mark.parametrize("audience", ["https://management.azure.com/", "https://management.core.windows.net", "own"])
def test_a_token_for_the_resource_manager_gets_in(stranger: httpx.Client, emulator: Emulator, audience: str) -> None:
    token, _ = emulator.tokens.issue(emulator.base_url + "/" if audience == "own" else audience)
    assert call(stranger, emulator, f"Bearer {token}").status_code == 200


def test_who_has_no_token_does_not_learn_which_routes_exist(stranger: httpx.Client, emulator: Emulator) -> None:
    assert stranger.get(f"{emulator.workspace_id}/no/such/route", params=VERSION).status_code == 401


def test_the_cloud_is_described_to_everybody(stranger: httpx.Client, emulator: Emulator) -> None:
    (cloud,) = stranger.get("/metadata/endpoints").json()
    assert cloud["resourceManager"] == f"{emulator.base_url}/"

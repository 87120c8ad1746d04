"""What opens an online endpoint: its keys, given or drawn, and its tokens."""

from __future__ import annotations

import time

from tests.local.azureml.scoring_assets import Workspace


def test_both_keys_open_the_endpoint_and_a_regenerated_one_no_longer_does(online: Workspace) -> None:
    keys = online.http.post("/onlineEndpoints/line/listKeys").json()
    assert online.score("line", key=keys["secondaryKey"]).status_code == 200
    answer = online.http.post("/onlineEndpoints/line/regenerateKeys", json={"keyType": "Secondary"})
    assert online.finished(answer)["status"] == "Succeeded"
    assert online.score("line", key=keys["secondaryKey"]).status_code == 401
    assert online.score("line", key=keys["primaryKey"]).status_code == 200


def test_an_endpoint_can_be_given_its_keys_and_never_shows_them(online: Workspace) -> None:
    assert online.endpoint("keyed", keys={"primaryKey": "chosen-by-hand"})["status"] == "Succeeded"
    keys = online.http.post("/onlineEndpoints/keyed/listKeys").json()
    assert (keys["primaryKey"], len(keys["secondaryKey"]) > 20) == ("chosen-by-hand", True)
    assert "chosen-by-hand" not in online.http.get("/onlineEndpoints/keyed").text
    assert online.finished(online.http.delete("/onlineEndpoints/keyed"))["status"] == "Succeeded"


def test_a_token_opens_an_endpoint_with_token_authentication(online: Workspace) -> None:
    assert online.endpoint("tokens", authMode="AMLToken")["status"] == "Succeeded"
    token = online.http.post("/onlineEndpoints/tokens/token").raise_for_status().json()
    assert token["tokenType"] == "Bearer"
    assert online.http.post("/onlineEndpoints/tokens/token").json()["accessToken"] == token["accessToken"]
    # Most of its life is over: a new one is given, and the old one is good for the rest.
    soon = {"token_expires_at": time.time() + 600}
    online.emulator.store.update("onlineEndpointKeys", "tokens", "", lambda keys: {**keys, **soon})
    fresh = online.http.post("/onlineEndpoints/tokens/token").json()
    assert fresh["accessToken"] != token["accessToken"]
    assert fresh["refreshAfterTimeUtc"] < fresh["expiryTimeUtc"]
    assert online.score("tokens", key=fresh["accessToken"]).status_code == 404
    # 404: let in, but there is no deployment to route to.
    assert online.score("tokens", key=token["accessToken"]).status_code == 404
    assert online.score("tokens", key="no token").status_code == 401
    assert online.http.post("/onlineEndpoints/tokens/listKeys").status_code == 400
    assert online.http.post("/onlineEndpoints/line/token").status_code == 400
    assert online.finished(online.http.delete("/onlineEndpoints/tokens"))["status"] == "Succeeded"

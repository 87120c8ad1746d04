"""The page at the emulator's root, in a real browser, over jobs and endpoints made through the unmodified SDK."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from local.azureml.emulator import Emulator
from tests.local.azureml.conftest import Name
from tests.local.azureml.pipelines import component, submit, until_ended
from tests.local.azureml.scoring_assets import CONDA_FILE, link_environment
from tests.waiting import wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Job
    from playwright.sync_api import Browser, Page

HOSTILE = "<img src=x onerror=document.title='taken'>"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
SCORE = "def init():\n    pass\n\n\ndef run(raw):\n    return 1\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium: CI must have one, a laptop need not."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        reason = f"no Chromium on PATH ({', '.join(_NAMES)}); the page at the emulator's root is not tested"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}: .ci/run installs it")
        pytest.skip(reason)
    # As root, in a container, Chromium's own sandbox cannot be set up.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=arguments)
        yield running
        running.close()


@dataclass
class Tab:
    """A browser's tab with what went wrong in it and where it asked."""

    page: Page
    base_url: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, view: str) -> str:
        """Show a view and return its text once its heading or tiles are there."""
        self.page.goto(f"{self.base_url}/#/{view}")
        self.page.reload()
        self.page.wait_for_selector("main h1, main .tiles")
        return self.page.inner_text("main")

    def until(self, text: str) -> str:
        """The view's text once it says `text`; it refreshes itself."""
        return wait_until(lambda: text in (shown := self.page.inner_text("main")) and shown, within=30, what=text)


@pytest.fixture
def tab(browser: Browser, emulator: Emulator) -> Iterator[Tab]:
    context = browser.new_context(ignore_https_errors=True, color_scheme="light", viewport={"width": 1180, "height": 900})
    opened = Tab(context.new_page(), emulator.base_url)
    opened.page.on("console", lambda message: opened.complaints.append(message.text) if message.type == "error" else None)
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    yield opened
    context.close()
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(f"{emulator.base_url}/")] == ["data:,"] * sum(
        url == "data:," for url in opened.requests
    )


@pytest.fixture(scope="module")
def client(ml_client: MLClient) -> MLClient:
    from azure.ai.ml.entities import Environment

    ml_client.environments.create_or_update(Environment(name="plain", version="1", image="python:3.11"))
    return ml_client


def _two_steps(folder: Path, second: str) -> Job:
    from azure.ai.ml import dsl

    one = component(folder, "one", "print('first words')", outputs={"made": {"type": "uri_folder"}},
                    command="python run.py > ${{outputs.made}}/it && cat ${{outputs.made}}/it")  # fmt: skip
    two = component(folder, "two", second, inputs={"given": {"type": "uri_folder"}}, command="python run.py ${{inputs.given}}")

    @dsl.pipeline(default_compute="serverless")
    def pipeline() -> None:
        first = one()
        two(given=first.outputs.made)

    return pipeline()


@pytest.mark.train_environment
def test_a_job_is_shown_with_its_graph_its_steps_and_their_logs(tab: Tab, client: MLClient, tmp_path: Path) -> None:
    job = _two_steps(tmp_path, "print('second words')")
    job.display_name = HOSTILE
    name = submit(client, job).name
    tab.open(f"jobs/{name}")
    until_ended(client, name)
    text = tab.until("Completed")
    assert HOSTILE in text, "the display name is text, not an element"
    nodes = tab.page.query_selector_all("svg.graph a")
    assert [node.get_attribute("aria-label").split(",")[0] for node in nodes] == ["first", "two"]
    wait_until(lambda: len(tab.page.query_selector_all("svg.graph a.good")) == 2, within=10, what="two green steps")
    (edge,) = tab.page.query_selector_all("svg.graph > path")
    assert "first → two: made" in edge.inner_html()
    tab.page.focus("svg.graph a:nth-of-type(2)")
    tab.page.keyboard.press("Enter")
    assert "second words" in tab.until("second words")
    assert name in tab.page.inner_text(".crumbs"), "a step leads back to its job"
    assert HOSTILE in tab.open("jobs"), "the newest job is on the first page"
    assert tab.page.title() == "Azure ML emulator"


@pytest.mark.train_environment
def test_a_failed_job_says_why_and_which_step(tab: Tab, client: MLClient, tmp_path: Path) -> None:
    job = _two_steps(tmp_path, "raise SystemExit('the data is bad')")
    name = submit(client, job).name
    until_ended(client, name)
    tab.open(f"jobs/{name}")
    text = tab.until("Failed")
    assert "the data is bad" in tab.page.inner_text(".error")
    assert "step two ended: Failed" in text, "the log of the job itself"
    assert len(tab.page.query_selector_all("svg.graph a.bad")) == 1


def test_a_hostile_name_is_shown_as_text(tab: Tab, emulator: Emulator, client: MLClient, name: Name) -> None:
    from azure.ai.ml.entities import Data

    wanted = name("shown")
    data = Data(name=wanted, version="1", path="azureml://datastores/workspaceblobstore/paths/x/", description=HOSTILE)
    data.tags = {"stage": HOSTILE}
    client.data.create_or_update(data)
    # The API takes no such name; what a state folder holds is not trusted all the same.
    body = {"properties": {"dataUri": "azureml://datastores/workspaceblobstore/paths/x/", "dataType": "uri_folder"}}
    for kind, version in (("data.containers", ""), ("data", "1")):
        emulator.store.put(kind, HOSTILE, version, body)
    try:
        assert HOSTILE in tab.open("data")
        tab.page.click(f"text={HOSTILE}")
        assert HOSTILE in tab.until("Versions, the newest first")
        assert f"stage: {HOSTILE}" in tab.open(f"data/{wanted}")
        assert tab.page.query_selector_all("main img") == []
        assert tab.page.title() == "Azure ML emulator"
    finally:
        emulator.store.delete("data", HOSTILE, "1")
        emulator.store.delete("data.containers", HOSTILE)


def test_an_endpoint_is_shown_with_its_traffic_and_requests(
    tab: Tab, emulator: Emulator, client: MLClient, tmp_path: Path, name: Name
) -> None:
    from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint

    link_environment()
    (tmp_path / "score.py").write_text(SCORE)
    endpoint = client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name("page"))).result()
    blue = ManagedOnlineDeployment(
        name="blue",
        endpoint_name=endpoint.name,
        environment=Environment(image="python:3.11", conda_file=str(CONDA_FILE)),
        code_configuration=CodeConfiguration(code=str(tmp_path), scoring_script="score.py"),
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )
    client.online_deployments.begin_create_or_update(blue).result()
    endpoint.traffic = {"blue": 100}
    client.online_endpoints.begin_create_or_update(endpoint).result()
    key = client.online_endpoints.get_keys(endpoint.name).primary_key
    trust = emulator.certificates.ssl_context()
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.post(endpoint.scoring_uri, json={}, headers=headers, verify=trust).status_code == 200
    text = tab.open("endpoints")
    assert endpoint.name in text
    bars = tab.page.query_selector_all(".weights")
    assert "Traffic: blue 100 %" in [bar.get_attribute("aria-label") for bar in bars]
    shown = f"section:has-text('{endpoint.name}')"
    wait_until(lambda: "1" in tab.page.inner_text(f"{shown} td:nth-of-type(4)"), within=15, what="the counted request")
    assert key not in tab.page.content()
    assert "online deployment create" in tab.open(""), "operations are on the first view"
    assert client.online_endpoints.begin_delete(endpoint.name).result() is None


def test_the_json_answers_this_machine_alone_and_is_read_only(emulator: Emulator, stranger: httpx.Client) -> None:
    paths = [
        "/",
        "/_emulator/overview",
        "/_emulator/jobs",
        "/_emulator/endpoints",
        "/_emulator/schedules",
        "/_emulator/assets/data",
    ]
    for path in paths:
        answer = stranger.get(path)
        assert answer.status_code == 200, path
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        assert stranger.get(path, headers={"Host": f"evil.example:{emulator.settings.port}"}).status_code == 421
        assert stranger.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert stranger.request(method, path).status_code == 401, "no such operation, and nobody asked who is allowed"
        for secret in (emulator.settings.identity_header, "AccountKey", "primaryKey", "BEGIN PRIVATE KEY"):
            assert secret not in answer.text
    policy = stranger.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_its_json_comes_in_parts_and_refuses_nonsense(emulator: Emulator, stranger: httpx.Client, name: Name) -> None:
    asset = name("parts")
    emulator.store.put("models.containers", asset, "", {"properties": {}})
    for version in range(3):
        emulator.store.put("models", asset, str(version), {"properties": {"modelUri": "x"}})
    first = stranger.get(f"/_emulator/assets/models/{asset}", params={"limit": 2}).json()
    rest = stranger.get(f"/_emulator/assets/models/{asset}", params={"limit": 2, "after": first["next"]}).json()
    assert [one["version"] for one in first["value"] + rest["value"]] == ["2", "1", "0"]
    assert rest["next"] is None
    for path, status in {
        "jobs?limit=0": 400, "jobs?limit=x": 400, "jobs?after=x": 400, "jobs/absent": 404, "log/absent": 404,
        "assets/secrets": 404, "assets/data/absent": 404,
    }.items():  # fmt: skip
        assert stranger.get(f"/_emulator/{path}").status_code == status, path

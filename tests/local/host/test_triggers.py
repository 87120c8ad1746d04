"""Every kind of trigger, through the running host."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ResourceNotFoundError

from tests.local.host.conftest import RunningHost
from tests.waiting import wait_until


def event(number: int, **data: Any) -> dict[str, Any]:
    return {
        "id": f"event-{number}",
        "topic": "/subscriptions/0/storage",
        "subject": "/blobServices/default/containers/c/blobs/b",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-11-21T10:00:00.1234567Z",
        "data": data,
        "dataVersion": "",
    }


def peek(queue: Any) -> list[Any]:
    """The queue's messages; none when it does not exist yet."""
    try:
        return list(queue.peek_messages())
    except ResourceNotFoundError:
        return []


def test_an_event_reaches_its_function_and_its_queue_output_reaches_the_next(host: RunningHost) -> None:
    assert host.post_events([event(1)]).status_code == 202
    [seen] = host.wait_for("event")
    assert (seen["id"], seen["type"]) == ("event-1", "Microsoft.Storage.BlobCreated")
    [key] = host.wait_for("key")
    assert key["body"] == {"event": "event-1"}
    assert key["dequeue_count"] == 1


def test_one_failing_event_of_an_array_answers_500_and_its_siblings_still_run(host: RunningHost) -> None:
    answer = host.post_events([event(1), event(2, fail=True), event(3)])
    assert answer.status_code == 500
    assert "this event was made to fail" in answer.text
    assert {line["id"] for line in host.wait_for("event", 2)} == {"event-1", "event-3"}


def test_an_event_as_a_single_object_is_taken_too(host: RunningHost) -> None:
    assert host.post_events(event(7)).status_code == 202
    host.wait_for("event", id="event-7")


def test_cloud_events_reach_their_function_one_by_one_and_as_an_array(host: RunningHost) -> None:
    body = {"specversion": "1.0", "id": "c-1", "source": "/here", "type": "t", "time": "2026-11-21T10:00:00Z", "data": {}}
    assert host.post_events(body, function="record_cloud_event").status_code == 202
    host.wait_for("cloud event", id="c-1", source="/here")
    assert host.post_events([body | {"id": "c-2"}, body | {"id": "c-3"}], function="record_cloud_event").status_code == 202
    assert {line["id"] for line in host.wait_for("cloud event", 3)} == {"c-1", "c-2", "c-3"}


@pytest.mark.parametrize("as_object", [False, True])
def test_the_subscription_handshake_is_answered_with_the_code_and_no_function_runs(host: RunningHost, as_object: bool) -> None:
    data: Any = {"validationCode": "512d38b6"}
    body = event(1) | {
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "data": json.dumps(data) if as_object else data,
    }
    answer = host.post_events(body if as_object else [body], "SubscriptionValidation")
    assert (answer.status_code, answer.json()) == (200, {"validationResponse": "512d38b6"})
    assert host.admin("GET", "host/status").json()["counts"].get("record_event") is None


def test_the_cloud_events_handshake_allows_event_grid_and_nobody_else_and_needs_the_key(host: RunningHost) -> None:
    url, query = f"{host.url}/runtime/webhooks/eventgrid", {"functionName": "record_event", "code": host.keys.eventgrid_extension}
    good = httpx.options(url, params=query, headers={"WebHook-Request-Origin": "eventgrid.azure.net"})
    assert (good.status_code, good.headers["Webhook-Allowed-Origin"]) == (200, "eventgrid.azure.net")
    bad = httpx.options(url, params=query, headers={"WebHook-Request-Origin": "evil.example"})
    assert "Webhook-Allowed-Origin" not in bad.headers
    in_header = {"WebHook-Request-Origin": "eventgrid.azure.net", "x-functions-key": host.keys.eventgrid_extension}
    assert httpx.options(url, params={"functionName": "record_event"}, headers=in_header).status_code == 200
    for method in ("GET", "PUT", "POST", "DELETE", "OPTIONS"):
        refused = httpx.request(method, url, params={"functionName": "record_event"}, headers=in_header | {"x-functions-key": ""})
        assert (refused.status_code, refused.text) == (401, "")
        assert "Webhook-Allowed-Origin" not in refused.headers


def test_the_webhook_refuses_wrong_keys_names_headers_and_bodies(host: RunningHost) -> None:
    assert host.post_events([event(1)], code="wrong").status_code == 401
    assert host.post_events([event(1)], code=host.keys.function).status_code == 401
    unknown = host.post_events([event(1)], function="Record_Event")
    assert (unknown.status_code, unknown.text) == (404, "cannot find function: 'Record_Event'")
    assert host.post_events([event(1)], function="take_key").status_code == 404
    assert host.post_events([event(1)], None).status_code == 400
    assert host.post_events([event(1)], "Nonsense").status_code == 400
    assert host.post_events(["text"]).status_code == 400
    assert host.post_events([{"no": "code"}], "SubscriptionValidation").status_code == 400
    assert host.post_events([], "Unsubscribe").status_code == 202
    assert host.observed("event") == []


def test_a_malformed_event_is_a_failure_that_names_the_cause(host: RunningHost) -> None:
    answer = host.post_events([event(1) | {"eventTime": "yesterday"}])
    assert answer.status_code == 500
    assert "eventGridTrigger" in answer.text


def test_http_functions_get_route_query_and_body_and_answer_with_status_and_headers(host: RunningHost) -> None:
    answer = httpx.get(f"{host.url}/api/hello/anna/3", params={"q": "x"})
    assert (answer.status_code, answer.text, answer.headers["x-seen"]) == (203, "hello anna 3", "x")
    assert httpx.get(f"{host.url}/api/hello/anna").text == "hello anna None"
    assert httpx.get(f"{host.url}/api/hello/anna/three").status_code == 404
    assert httpx.post(f"{host.url}/api/hello/anna").status_code == 404
    assert httpx.get(f"{host.url}/nothing").status_code == 404
    echoed = httpx.post(f"{host.url}/api/echo", params={"code": host.keys.function}, json={"a": 1})
    assert echoed.json() == {"got": {"a": 1}}
    assert echoed.headers["content-type"] == "application/json"


def test_http_keys_are_asked_for_by_level(host: RunningHost) -> None:
    def status(method: str, path: str, key: str | None) -> int:
        headers = {"x-functions-key": key} if key else {}
        return httpx.request(method, f"{host.url}/api/{path}", headers=headers, json={}).status_code

    keys = host.keys
    assert [status("POST", "echo", key) for key in (None, "wrong", keys.eventgrid_extension)] == [401, 401, 401]
    assert [status("POST", "echo", key) for key in (keys.function, keys.master)] == [200, 200]
    assert [status("GET", "steer", key) for key in (None, keys.function, keys.master)] == [401, 401, 200]


def test_a_list_output_becomes_one_message_per_element(host: RunningHost) -> None:
    assert httpx.post(f"{host.url}/api/fan-out", json=[1, 2, 3]).status_code == 202
    assert sorted(line["body"] for line in host.wait_for("key", 3)) == [1, 2, 3]


def test_an_http_function_that_answers_nothing_is_500(host: RunningHost) -> None:
    assert httpx.get(f"{host.url}/api/no-answer").status_code == 500
    [invocation] = host.admin("GET", "host/invocations?function=no_answer").json()
    assert invocation["outcome"] == "failed"
    assert "NoneType" in invocation["error"]


def test_a_function_beyond_its_time_is_counted_as_timed_out(host: RunningHost) -> None:
    assert httpx.get(f"{host.url}/api/slow", timeout=20).status_code == 500
    [invocation] = host.admin("GET", "host/invocations?function=slow").json()
    assert (invocation["outcome"], invocation["trigger"]) == ("timed out", "httpTrigger")


def test_a_message_is_deleted_when_its_function_succeeded(host: RunningHost) -> None:
    queue = host.queue("WORK_QUEUE")
    queue.send_message(json.dumps({"id": 1}))
    host.wait_for("work done", id=1)
    wait_until(lambda: queue.get_queue_properties().approximate_message_count == 0)


def test_a_message_that_always_fails_is_tried_three_times_and_then_poison(host: RunningHost) -> None:
    host.queue("WORK_QUEUE").send_message(json.dumps({"id": 5, "fail": True}))
    poison = host.queue("WORK_QUEUE", "-poison")

    [message] = wait_until(lambda: peek(poison), what="a poison message")
    assert json.loads(message.content) == {"id": 5, "fail": True}
    assert [line["dequeue_count"] for line in host.observed("work")] == [1, 2, 3]
    wait_until(lambda: host.queue("WORK_QUEUE").get_queue_properties().approximate_message_count == 0)


def test_a_message_that_is_not_base64_goes_to_poison_as_it_is(host: RunningHost) -> None:
    name = host.environment["WORK_QUEUE"]
    host.queues.get_queue_client(name).send_message("plain text!")
    poison = host.queues.get_queue_client(name + "-poison")
    [message] = wait_until(lambda: peek(poison), what="a poison message")
    assert message.content == "plain text!"
    assert host.observed("work") == []


def test_admin_fires_functions_of_every_kind_but_http(host: RunningHost) -> None:
    assert host.admin("POST", "functions/tick_yearly", json={}).status_code == 202
    host.wait_for("yearly", past_due=False)
    assert host.admin("POST", "functions/take_work", json={"input": json.dumps({"id": 9})}).status_code == 202
    host.wait_for("work done", id=9)
    assert host.admin("POST", "functions/record_event", json={"input": json.dumps(event(4))}).status_code == 202
    host.wait_for("event", id="event-4")
    assert host.admin("POST", "functions/record_event", json={"input": "no event"}).status_code == 400
    assert host.admin("POST", "functions/hello", json={}).status_code == 400
    assert host.admin("POST", "functions/nothing", json={}).status_code == 404


def test_admin_wants_the_master_key_and_tells_what_there_is(host: RunningHost) -> None:
    for key in ("", "wrong", host.keys.function, host.keys.eventgrid_extension):
        assert httpx.get(f"{host.url}/admin/functions", headers={"x-functions-key": key}).status_code == 401
    names = {item["name"] for item in host.admin("GET", "functions").json()}
    assert {"record_event", "take_work", "tick_yearly", "hello"} <= names
    assert host.admin("GET", "host/status").json()["state"] == "Running"
    assert host.admin("GET", "host/systemkeys/eventgrid_extension").json()["value"] == host.keys.eventgrid_extension


def test_a_timer_of_each_second_runs_without_monitoring(host: RunningHost) -> None:
    ticks = host.wait_for("second", 2)
    assert all(tick["past_due"] is False and tick["status"] == {} for tick in ticks)


def test_keys_are_private_and_never_logged(host: RunningHost) -> None:
    host.post_events([event(1)])
    host.wait_for("event")
    assert (host.state / "keys.json").stat().st_mode & 0o777 == 0o600
    logs = host.log + (host.state / "host.jsonl").read_text()
    assert all(key not in logs for key in (host.keys.master, host.keys.function, host.keys.eventgrid_extension))


def test_log_lines_name_function_and_invocation(host: RunningHost) -> None:
    host.post_events([event(1, fail=True)])
    lines = [json.loads(line) for line in (host.state / "host.jsonl").read_text().splitlines()]
    [raised] = [line for line in lines if "exception" in line]
    [invocation] = host.admin("GET", "host/invocations?function=record_event").json()
    assert (raised["function"], raised["invocation"]) == ("record_event", invocation["id"])
    assert "ValueError: this event was made to fail" in raised["exception"]


def test_sigterm_lets_running_work_finish_and_ends_with_zero(make_host: Callable[..., RunningHost]) -> None:
    host = make_host().start()
    assert host.child is not None
    gate = host.folder / "gate"
    host.queue("WORK_QUEUE").send_message(json.dumps({"id": 1, "wait_for": str(gate)}))
    host.wait_for("work", id=1)
    os.kill(host.child.pid, signal.SIGTERM)
    wait_until(lambda: "stopping" in host.log)
    gate.touch()
    wait_until(lambda: host.child is not None and host.child.poll() is not None)
    assert host.child.poll() == 0
    assert len(host.observed("work done")) == 1
    assert host.queue("WORK_QUEUE").get_queue_properties().approximate_message_count == 0

"""/api/v3/contents/generations/tasks on the wire: nulls, flags, roles, filters, and every error in one shape."""

from collections.abc import Generator
from typing import Any

import httpx
import pytest

from tests.dialects.pictures import data_url, png
from tests.stack import Customer, Stack, bearer

TASKS = "/api/v3/contents/generations/tasks"
TEXT = {"type": "text", "text": "a lamp"}
PARKED: dict[str, Any] = {"model": "parked", "content": [TEXT], "resolution": "480p", "duration": 1}


@pytest.fixture
def http(stack: Stack, customer: Customer) -> Generator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, headers=customer.bearer, timeout=30) as client:
        yield client


def refused(answer: httpx.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """The error object, after its shape and these parts of it were checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    return error


def image(role: str | None = None, url: str | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url or data_url(png())}, "role": role}


def created(http: httpx.Client, **task: object) -> dict[str, Any]:
    """The task as it is read back after it was accepted."""
    answer = http.post(TASKS, json={**PARKED, **task})
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"id"}
    return http.get(f"{TASKS}/{answer.json()['id']}").json()


def text(words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": words}]


# -- create ------------------------------------------------------------------------------------------------------------
def test_null_is_not_set_whether_known_here_or_not(http: httpx.Client) -> None:
    created(http, content=[{**TEXT, "role": None}, image()], callback_url=None, tools=None, a_field_of_next_year=None)


def test_what_changes_nothing_is_accepted(http: httpx.Client) -> None:
    created(
        http,
        watermark=False,
        camera_fixed=False,
        draft=False,
        tools=[],
        callback_url="",
        priority=0,
        output_format="mp4",
        seed=-1,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"priority": 3},
        {"draft": True},
        {"camera_fixed": True},
        {"watermark": True},
        {"tools": [{"type": "web_search"}]},
        {"output_format": "webm"},
        {"omni_reference_task_type": "style"},
        {"a_field_of_next_year": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_no_model_can_do_is_refused_unless_the_key_is_lenient(
    http: httpx.Client, stack: Stack, customer: Customer, change: dict[str, Any]
) -> None:
    (name,) = change
    refused(http.post(TASKS, json={**PARKED, **change}), 400, "unsupported_field", name)
    answer = httpx.post(stack.base_url + TASKS, json={**PARKED, **change}, headers=bearer(customer.lenient))
    assert (answer.status_code, answer.headers["x-ignored-fields"]) == (200, name)


@pytest.mark.parametrize("kind", ["video_url", "audio_url", "draft_task"])
def test_other_media_are_refused_even_for_a_lenient_key(stack: Stack, customer: Customer, kind: str) -> None:
    item = {"type": kind, kind: {"id": "cgt-1"} if kind == "draft_task" else {"url": "https://example.com/a"}}
    for key in (customer.live, customer.lenient):
        answer = httpx.post(stack.base_url + TASKS, json={**PARKED, "content": [TEXT, item]}, headers=bearer(key))
        refused(answer, 400, "unsupported_field", f"content[1].{kind}")


@pytest.mark.parametrize(
    "content, param",
    [
        ([], "content"),
        ([{"type": "smell", "smell": {}}], "content[0].type"),
        ([TEXT, image("middle_frame")], "content[1].role"),
        ([image(), image()], "content[0].role"),
        ([image("first_frame"), image("first_frame")], "content[1].role"),
        ([image(url="https://example.com/a.png")], "content[0].image_url.url"),
        ([TEXT, image(url=data_url(b"no picture"))], "content[1].image_url.url"),
        (text(" "), "content"),
    ],
)
def test_bad_content(http: httpx.Client, content: list[dict[str, Any]], param: str) -> None:
    answer = http.post(TASKS, json={**PARKED, "content": content})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_first_last_and_reference_frames(http: httpx.Client) -> None:
    created(http, content=[TEXT, image("first_frame"), image("last_frame")])
    created(http, content=[TEXT, image("reference_image"), image("reference_image")])


@pytest.mark.parametrize(
    "change, seen",
    [
        ({"duration": 2}, {"duration": 2, "frames": None}),
        ({"duration": 2, "frames": 30}, {"duration": None, "frames": 30}),
        ({"duration": 2, "frames": 24}, {"duration": 1, "frames": None}),
        ({"duration": -1}, {"duration": -1, "frames": None}),
        ({"ratio": "adaptive"}, {"resolution": "480p", "ratio": "16:9"}),
        ({"resolution": "1080P", "ratio": "9:16"}, {"resolution": "1080p", "ratio": "9:16"}),
        ({"service_tier": "priority"}, {"service_tier": "priority"}),
        ({"execution_expires_after": 3600}, {"execution_expires_after": 3600}),
        ({"generate_audio": True, "seed": 11}, {"generate_audio": True, "seed": 11}),
    ],
)
def test_options(http: httpx.Client, change: dict[str, Any], seen: dict[str, Any]) -> None:
    task = created(http, **change)
    assert {name: task[name] for name in seen} == seen


@pytest.mark.parametrize(
    "change, param",
    [
        ({"duration": 0}, "duration"),
        ({"duration": 1.5}, "duration"),
        ({"duration": 600}, "duration"),
        ({"duration": -1, "model": "plain"}, "duration"),
        ({"generate_audio": True, "model": "plain"}, "generate_audio"),
        ({"content": [TEXT, image()], "model": "plain"}, "content"),
        ({"seed": -2}, "seed"),
        ({"resolution": "8k"}, "resolution"),
        ({"ratio": "wide"}, "ratio"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"execution_expires_after": 3599}, "execution_expires_after"),
        ({"execution_expires_after": 259_201}, "execution_expires_after"),
        ({"framespersecond": 23}, "framespersecond"),
        ({"model": "seedance"}, "model"),
    ],
)
def test_bad_options(http: httpx.Client, change: dict[str, Any], param: str) -> None:
    answer = http.post(TASKS, json={**PARKED, **change})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


# -- flags in the text -------------------------------------------------------------------------------------------------
def test_flags_are_obeyed_and_paid_for(http: httpx.Client, stack: Stack, customer: Customer) -> None:
    words = "a lamp --rs 1080p --dur 5 --ratio 9:16 --fps 12 --seed 11 --wm false --cf false"
    task = created(http, content=text(words), resolution=None, duration=None)
    seen = {name: task[name] for name in ("resolution", "duration", "ratio", "framespersecond", "seed")}
    assert seen == {"resolution": "1080p", "duration": 5, "ratio": "9:16", "framespersecond": 12, "seed": 11}
    assert stack.wallet(customer).held == 5 * 1_600_000
    assert http.get(f"/v1/jobs/{task['id']}").json()["prompt"] == "a lamp"


def test_a_flag_may_repeat_a_field_and_must_not_contradict_it(http: httpx.Client) -> None:
    created(http, content=text("a lamp --rs 480P --dur 1"))
    error = refused(http.post(TASKS, json={**PARKED, "content": text("a lamp --rs 1080p")}), 400, "invalid_request", "resolution")
    assert error["message"] == "resolution is 480p, and a flag in the text says 1080p; give it once"
    refused(http.post(TASKS, json={**PARKED, "content": text("a lamp --dur 9")}), 400, "invalid_request", "duration")


# -- list and delete ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, value",
    [("page_num", "0"), ("page_size", "501"), ("page_size", "x"), ("filter.status", "done"), ("filter.service_tier", "standard")],
)
def test_a_bad_query(http: httpx.Client, name: str, value: str) -> None:
    refused(http.get(TASKS, params={name: value}), 400, "invalid_request", name)


def test_ids_that_are_none_find_nothing(http: httpx.Client) -> None:
    task = created(http)
    found = http.get(TASKS, params=[("filter.task_ids", task["id"]), ("filter.task_ids", "cgt-2")]).json()
    assert (found["total"], [item["id"] for item in found["items"]]) == (1, [task["id"]])
    assert http.get(TASKS, params={"filter.task_ids": "cgt-2"}).json() == {"total": 0, "items": []}


def test_delete_takes_any_body(http: httpx.Client) -> None:
    for body in (b"", b"{}"):
        answer = http.request("DELETE", f"{TASKS}/{created(http)['id']}", content=body)
        assert (answer.status_code, answer.json()) == (200, {})


def test_a_task_is_a_job_in_every_dialect(http: httpx.Client) -> None:
    task = created(http)
    video = http.get(f"/v1/videos/{task['id']}").json()
    assert (video["status"], video["seconds"]) == ("queued", "1")
    http.delete(f"{TASKS}/{task['id']}")
    video = http.get(f"/v1/videos/{task['id']}").json()
    assert (video["status"], video["error"]["code"]) == ("failed", "cancelled")


# -- every error in one shape ------------------------------------------------------------------------------------------
def test_errors_of_the_transport(http: httpx.Client, stack: Stack, customer: Customer) -> None:
    assert refused(httpx.get(stack.base_url + TASKS), 401, "invalid_api_key")["type"] == "Unauthorized"
    refused(http.get(f"{TASKS}/cgt-1"), 404, "not_found")
    refused(http.get("/api/v3/chat/completions"), 404, "not_found")
    refused(http.put(TASKS), 405, "method_not_allowed")
    refused(http.post(TASKS, content=b"{"), 400, "invalid_request")
    refused(http.post(TASKS, json=[]), 400, "invalid_request")
    refused(http.post(TASKS, json={"model": "parked", "content": 5}), 400, "invalid_request", "content")
    refused(http.post(TASKS, json={"content": [TEXT]}), 400, "invalid_request", "model")
    refused(http.post(TASKS, content=b"x", headers={"content-type": "text/plain"}), 415, "unsupported_content_type")
    refused(http.post(TASKS, content=b" " * (17 << 20)), 413, "request_too_large")
    with httpx.Client(base_url=stack.base_url, headers=customer.bearer | {"idempotency-key": "order-1"}) as keyed:
        first, again = keyed.post(TASKS, json=PARKED), keyed.post(TASKS, json=PARKED)
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        other = keyed.post(TASKS, json={**PARKED, "duration": 2})
        refused(other, 422, "idempotency_mismatch")
        assert other.headers["x-should-retry"] == "false"

"""/v1/fleet/replicas: for operators alone, and what it says is what happens."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.settings import Secret
from tests.stack import Stack, running_stack

TOKEN = "an operator token of the tests, long enough"
SERVER = {"name": "one", "url": "gpu-1:8001", "models": ["testcard"], "accelerator": "h100", "slots": 2, "labels": {"rack": "7"}}


@pytest.fixture(scope="module")
def office(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API whose settings name an operator."""
    folder: Path = tmp_path_factory.mktemp("office")
    with running_stack(module_dsn, folder, replicas=0, roles=("api",), operator_token=Secret(TOKEN)) as stack:
        yield stack


@pytest.fixture
def operator(office: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{office.base_url}/v1/fleet", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def test_an_operator_registers_and_commands(operator: httpx.Client) -> None:
    made = operator.post("/replicas", json=SERVER)
    assert made.status_code == 200, made.text
    one = made.json()
    assert {key: one[key] for key in SERVER} == SERVER
    assert (one["state"], one["source"], one["live"], one["quarantine"], one["models_max"]) == ("active", "api", None, None, 1)
    assert operator.post("/replicas", json=SERVER).json() == one
    assert operator.post("/replicas/one/cordon").json()["state"] == "cordoned"
    assert operator.post("/replicas/one/uncordon", json={}).json()["state"] == "active"
    held = operator.post("/replicas/one/quarantine", json={"reason": "its fan is loud"}).json()["quarantine"]
    assert (held["reason"], held["by"]) == ("its fan is loud", "operator")
    assert operator.post("/replicas/one/release").json()["quarantine"] is None
    assert operator.post("/replicas/one/drain").json()["state"] == "draining"
    assert [row["name"] for row in operator.get("/replicas").json()["data"]] == ["one"]
    assert operator.post("/replicas/one/remove").json()["state"] == "removed"
    assert operator.get("/replicas").json()["data"] == []
    assert operator.get("/replicas/one").json()["state"] == "removed"


@pytest.mark.parametrize(
    "path,body,status,code",
    [
        ("/replicas", {**SERVER, "models": ["wan9"]}, 400, "invalid_request"),
        ("/replicas", {**SERVER, "slots": 0}, 400, "invalid_request"),
        ("/replicas", {**SERVER, "url": "http://gpu"}, 400, "invalid_request"),
        ("/replicas", {**SERVER, "price_micro_usd_per_hour": -1}, 400, "invalid_request"),
        ("/replicas", {**SERVER, "slot": 1}, 400, "unsupported_field"),
        ("/replicas/nobody/cordon", {}, 404, "not_found"),
        ("/replicas/nobody/dance", {}, 404, "not_found"),
        ("/replicas/two/quarantine", {}, 400, "invalid_request"),
        ("/replicas/two/cordon", {"why": "x"}, 400, "unsupported_field"),
        ("/replicas/two/cordon", {"reason": "x" * 5000}, 413, "request_too_large"),
    ],
)
def test_what_makes_no_sense_is_refused(operator: httpx.Client, path: str, body: object, status: int, code: str) -> None:
    assert operator.post("/replicas", json={**SERVER, "name": "two"}).is_success
    answer = operator.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_state_that_does_not_allow_it_is_said(operator: httpx.Client) -> None:
    operator.post("/replicas", json={**SERVER, "name": "three"})
    operator.post("/replicas/three/drain")
    answer = operator.post("/replicas/three/cordon")
    assert (answer.status_code, answer.json()["code"]) == (409, "replica_conflict")
    assert "three is draining" in answer.json()["detail"]


def test_an_operator_edits_the_catalogue(operator: httpx.Client, office: Stack) -> None:
    first = operator.get("/catalogue")
    assert (first.status_code, first.headers["etag"], first.json()["edits"]) == (200, '"1"', {})
    (card,) = [one for one in first.json()["catalogue"]["models"] if one["name"] == "testcard"]
    twin = {**card, "name": "twin", "like": "testcard"}
    dear = {"name": "cpu", "title": "x", "vendor": "any", "memory_gib": 8, "price_micro_usd_per_hour": -1}

    def put(edits: object, tag: str | None, **more: object) -> httpx.Response:
        headers = {} if tag is None else {"if-match": tag}
        return operator.put("/catalogue", json={"edits": edits, **more}, headers=headers)

    for edits, tag, status, code, said in [
        ({"models": [twin]}, None, 428, "precondition_required", "If-Match"),
        ({"models": [twin]}, '"7"', 412, "precondition_failed", "7"),
        ({"accelerators": [dear]}, '"1"', 400, "invalid_request", "accelerators cpu: a price must be positive"),
        ({"models": [{**twin, "like": "twin"}]}, '"1"', 400, "invalid_request", "twin: goes in a circle: twin → twin"),
        ({"models": [{**twin, "like": ""}]}, '"1"', 400, "invalid_request", "the model twin has no speed"),
        ({"models": [{**twin, "memory_gib": 999}]}, '"1"', 400, "invalid_request", "models twin: needs 999 GiB, and no acc"),
        ({"models": [{**twin, "colour": 1}]}, '"1"', 400, "unsupported_field", "edits.models[0].colour"),
    ]:  # fmt: skip
        refused = put(edits, tag)
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
        assert said in refused.json()["detail"]
    assert put({}, "*", reason="x" * 501).status_code == 400
    assert operator.get("/catalogue").headers["etag"] == '"1"'  # nothing of all that was written

    made = put({"models": [twin]}, '"1"', reason="a twin for the festival")
    assert (made.status_code, made.headers["etag"]) == (200, '"2"')
    assert (made.json()["source"], made.json()["reason"]) == ("operator", "a twin for the festival")
    registered = {**SERVER, "name": "for-the-twin", "models": ["twin"]}
    office.wait(lambda: operator.post("/replicas", json=registered).is_success, "the API has the new edition")
    assert put({}, '"1"').status_code == 412
    assert put({}, '"2"').json()["catalogue"] == first.json()["catalogue"]
    trail = office.database(lambda conn: conn.fetch("SELECT object_id FROM gateway.audit_entry WHERE action = 'catalogue.edit'"))
    assert [entry["object_id"] for entry in trail] == ["2", "3"]


@pytest.mark.parametrize("token", ["x", TOKEN[:-1], TOKEN + "x", "é" * 40])
def test_nobody_else_is_answered(office: Stack, token: str) -> None:
    customer = office.customer()
    for value in (f"Bearer {token}".encode(), customer.bearer["authorization"].encode()):
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/one"), ("POST", "/one/cordon")):
            url = f"{office.base_url}/v1/fleet/replicas{path}"
            answer = httpx.request(method, url, headers={b"authorization": value}, json={} if method == "POST" else None)
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
        for method in ("GET", "PUT"):
            answer = httpx.request(method, f"{office.base_url}/v1/fleet/catalogue", headers={b"authorization": value})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")


def test_without_an_operator_token_there_is_no_operator(desk: Stack) -> None:
    for value in ("Bearer", "Bearer x"):
        assert httpx.get(f"{desk.base_url}/v1/fleet/replicas", headers={"authorization": value}).status_code == 401

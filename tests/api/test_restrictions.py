"""What a key may ask for and from where: refused before anything is held, by the rule, the value and what is accepted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.test_keys import create
from tests.api.test_managers import manage
from tests.stack import Customer, Stack, bearer, running_stack

JOB = {"model": "testcard", "prompt": "a lamp", "seconds": 2, "size": "640x480"}


@pytest.fixture
def customer(desk: Stack) -> Customer:
    return desk.customer()


@pytest.fixture
def key(desk: Stack, customer: Customer) -> Callable[..., httpx.Client]:
    """A client with a new key of these settings."""

    def make(**fields: Any) -> httpx.Client:
        with manage(desk, customer, role="owner") as client:
            return httpx.Client(base_url=desk.base_url, headers=bearer(create(client, **fields)["key"]), trust_env=False)

    return make


@pytest.mark.parametrize(
    "rule, asked, param, said",
    [
        ({"tier_max": "standard"}, {"tier": "priority"}, "tier", ("tier_max", "priority", "flex, standard")),
        ({"resolution_max": "480p"}, {"size": "1280x720"}, "size", ("resolution_max", "1280x720", "up to 480p")),
        ({"seconds_max": 1}, {}, "seconds", ("seconds_max", "2 s", "up to 1 s")),
    ],
)
def test_a_refusal_names_the_rule_the_value_and_what_is_accepted(
    desk: Stack,
    customer: Customer,
    key: Callable[..., httpx.Client],
    rule: dict[str, Any],
    asked: dict[str, Any],
    param: str,
    said: tuple[str, ...],
) -> None:
    with key(restrictions=rule) as client:
        for path in ("/v1/jobs", "/v1/estimate"):
            refused = client.post(path, json={**JOB, **asked})
            assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (403, "key_restricted", param)
            for word in said:
                assert word in refused.json()["detail"]
        assert desk.job_count(customer) == 0 and desk.wallet(customer).held == 0
        accepted = {"tier": "flex", "size": "640x480", "seconds": 1}
        client.post("/v1/jobs", json={**JOB, **accepted}).raise_for_status()


def test_the_other_dialects_refuse_in_their_own_shape(key: Callable[..., httpx.Client]) -> None:
    with key(restrictions={"seconds_max": 1}) as client:
        openai = client.post("/v1/videos", json={"model": "testcard", "prompt": "x", "seconds": "4"})
        ark = client.post(
            "/api/v3/contents/generations/tasks",
            json={"model": "testcard", "content": [{"type": "text", "text": "x"}], "duration": 4},
        )
        assert [answer.status_code for answer in (openai, ark)] == [403, 403]
        assert {answer.json()["error"]["code"] for answer in (openai, ark)} == {"key_restricted"}


def test_a_key_sees_the_models_it_may_use(key: Callable[..., httpx.Client]) -> None:
    with key(restrictions={"models": ["testcard"]}) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["testcard"]
        client.post("/v1/jobs", json=JOB).raise_for_status()


def test_a_key_of_another_network_is_refused_everywhere(key: Callable[..., httpx.Client]) -> None:
    with key(restrictions={"addresses": ["203.0.113.0/24", "2001:db8::/32"]}) as client:
        for answer in (client.get("/v1/jobs"), client.get("/v1/prices"), client.post("/v1/jobs", json=JOB)):
            assert (answer.status_code, answer.json()["code"]) == (403, "key_restricted")
            assert "127.0.0.1" in answer.json()["detail"] and "203.0.113.0/24, 2001:db8::/32" in answer.json()["detail"]
        forged = client.get("/v1/jobs", headers={"x-forwarded-for": "203.0.113.7"})
        assert forged.status_code == 403


def test_labels_and_the_end_user_of_a_key_stand_in_for_what_a_request_leaves_out(key: Callable[..., httpx.Client]) -> None:
    with key(labels={"team": "film", "site": "x"}, end_user="house") as client:
        plain = client.post("/v1/jobs", json=JOB).raise_for_status().json()
        assert (plain["labels"], plain["end_user"]) == ({"team": "film", "site": "x"}, "house")
        own = client.post("/v1/jobs", json={**JOB, "labels": {"team": "art"}, "end_user": "u-1"}).raise_for_status().json()
        assert (own["labels"], own["end_user"]) == ({"team": "art", "site": "x"}, "u-1")


def test_labelling_a_key_anew_does_not_make_a_repeated_request_another_one(desk: Stack, customer: Customer) -> None:
    with manage(desk, customer, role="owner") as manager:
        made = create(manager, labels={"team": "film"})
        again = {**bearer(made["key"]), "idempotency-key": uuid4().hex}
        first = httpx.post(f"{desk.base_url}/v1/jobs", json=JOB, headers=again).raise_for_status()
        path = f"/v1/keys/{made['id']}"
        manager.patch(path, json={"labels": {"team": "art"}}, headers={"if-match": "*"}).raise_for_status()
        with httpx.Client(base_url=desk.base_url, headers=bearer(made["key"])) as client:
            desk.wait(
                lambda: client.post("/v1/jobs", json=JOB).json()["labels"] == {"team": "art"}, "the label is known", within_s=5
            )
        repeated = httpx.post(f"{desk.base_url}/v1/jobs", json=JOB, headers=again)
        assert (repeated.status_code, repeated.content) == (201, first.content)


def test_both_secrets_of_a_rotated_key_work_until_the_overlap_ends(desk: Stack, customer: Customer) -> None:
    with manage(desk, customer, role="owner") as manager:
        made = create(manager)
        second = manager.post(f"/v1/keys/{made['id']}/rotate", json={"overlap_s": 3600}).json()
        for token in (made["key"], second["key"]):
            httpx.post(f"{desk.base_url}/v1/jobs", json=JOB, headers=bearer(token)).raise_for_status()
        manager.post(f"/v1/keys/{made['id']}/revoke").raise_for_status()
        for token in (made["key"], second["key"]):
            assert httpx.post(f"{desk.base_url}/v1/jobs", json=JOB, headers=bearer(token)).status_code == 401


def test_when_a_key_was_last_used_is_known_soon(desk: Stack, customer: Customer) -> None:
    with manage(desk, customer, role="owner") as manager:
        made = create(manager)
        path = f"/v1/keys/{made['id']}"
        assert manager.get(path).json()["last_used_at"] is None
        httpx.get(f"{desk.base_url}/v1/jobs", headers=bearer(made["key"])).raise_for_status()
        desk.wait(lambda: manager.get(path).json()["last_used_at"] is not None, "the use was written down", within_s=30)


def test_a_trusted_proxy_says_where_a_request_comes_from(module_dsn: str, tmp_path: Path) -> None:
    started = running_stack(module_dsn, tmp_path, replicas=0, roles=("api",), trusted_proxies=("127.0.0.0/8",))
    with started as stack, manage(stack, stack.customer(), role="owner") as manager:
        token = create(manager, restrictions={"addresses": ["203.0.113.0/24"]})["key"]

        def status(forwarded: str) -> int:
            headers = {**bearer(token), "x-forwarded-for": forwarded}
            return httpx.get(f"{stack.base_url}/v1/jobs", headers=headers).status_code

        assert [status("203.0.113.7"), status("203.0.113.7, 127.0.0.1")] == [200, 200]
        # What the client itself claimed stands before what the proxy saw.
        assert [status("203.0.113.7, 198.51.100.1"), status("198.51.100.1"), status("nonsense")] == [403, 403, 403]

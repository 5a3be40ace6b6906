"""The OpenAPI document, its page and the page of errors say what the API does."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from billing.pricing.book import publish
from billing.pricing.model import ModelRates, RateCard, Step
from gateway.api.errors_page import every_error, markdown
from tests.stack import Stack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(desk: Stack) -> dict[str, Any]:
    return httpx.get(f"{desk.base_url}/openapi.json").raise_for_status().json()


def test_the_page_of_errors_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == markdown()


def test_every_operation_says_how_it_is_refused(document: dict[str, Any]) -> None:
    codes = {error.code: str(error.status) for error in every_error()}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            responses = operation["responses"]
            assert {"405", "500", "503"} <= set(responses), (path, method)
            assert ("401" in responses) == (operation.get("security") != []), (path, method)
            for status, answer in responses.items():
                for media in answer.get("content", {}).values():
                    for code in media.get("examples", {}):
                        assert codes[code] == status, (path, method, code)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/([A-Za-z_.]+)", str(document)):
        assert name in schemas


def test_errors_come_as_documented(desk: Stack, document: dict[str, Any]) -> None:
    """A wrong key on every documented operation: 401 in the media type and with the fields that the document gives."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation.get("security") == [] or method == "head":
                continue
            url = desk.base_url + re.sub(r"\{[^}]+\}", "job_" + "0" * 32, path)
            answer = httpx.request(method.upper(), url, headers={"authorization": "Bearer tl_live_wrong"}, json={})
            assert answer.status_code == 401, (path, method, answer.text)
            documented = operation["responses"]["401"]["content"]
            assert answer.headers["content-type"].partition(";")[0] in documented
            (media,) = documented.values()
            assert media["examples"]
            for example in media["examples"].values():
                assert answer.json().keys() == example["value"].keys(), (path, method)


def test_the_page_needs_nothing_from_elsewhere(desk: Stack) -> None:
    with httpx.Client(base_url=desk.base_url) as client:
        page = client.get("/docs").raise_for_status()
        names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert any(name.endswith(".js") for name in names)
        for name in names:
            if name.startswith("data:"):
                continue
            assert not name.startswith(("http:", "https:", "//")), name
            assert client.get(str(page.url.join(name))).is_success, name
        assert "'self'" in page.headers["content-security-policy"]


def test_models_and_prices(desk: Stack) -> None:
    customer = desk.customer()
    with httpx.Client(base_url=desk.base_url, headers=customer.bearer) as client:
        (model,) = client.get("/v1/models").raise_for_status().json()["data"]
        assert (model["id"], model["object"], model["price"]["price_micro"]) == ("testcard", "model", 1_000_000)
        assert client.get("/v1/models/testcard").json() == model
        assert client.get("/v1/models/nope").status_code == 404
        prices = client.get("/v1/prices")
        assert prices.json()["currency"] == "CNY"
        assert client.get("/v1/prices", headers={"if-none-match": prices.headers["etag"]}).status_code == 304


def test_health_and_metrics(desk: Stack) -> None:
    with httpx.Client(base_url=desk.base_url) as client:
        assert client.get("/health/live").json() == {"status": "live"}
        assert client.get("/health/ready").json() == {"status": "ready"}
        assert "tallylight_http_request_seconds_count" in client.get("/metrics").text


AGREED = RateCard(
    "CNY",
    {
        "testcard": ModelRates(
            400_000, {"720p": 10_000}, {"standard": 10_000}, volume=(Step(60_000, 9_000),), min_ms=2_000, audio=10_000
        )
    },
)


def test_everyone_may_read_and_keep_the_list_of_a_currency(desk: Stack) -> None:
    with httpx.Client(base_url=desk.base_url) as client:
        listed = client.get("/v1/prices/USD").raise_for_status()
        assert listed.headers["cache-control"] == "public, max-age=60" and "vary" not in listed.headers
        price = listed.json()["models"]["testcard"]
        assert (price["unit"], price["price_micro"], price["tier"]["flex"], price["own"]) == ("second", 140_000, "0.5", False)
        again = client.get("/v1/prices/USD", headers={"if-none-match": listed.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", listed.headers["etag"])
        assert client.get("/v1/prices/EUR").status_code == 404
        assert client.get("/v1/prices").status_code == 401


def test_own_prices_are_shown_to_their_customer_alone(desk: Stack) -> None:
    mine, other = desk.customer(), desk.customer()
    desk.database(lambda conn: publish(conn, AGREED, customer_id=mine.org_id))
    with httpx.Client(base_url=desk.base_url) as client:
        listed, theirs = client.get("/v1/prices", headers=mine.bearer), client.get("/v1/prices", headers=other.bearer)
        assert listed.headers["cache-control"] == "private, max-age=60" and listed.headers["vary"] == "authorization"
        price = listed.json()["models"]["testcard"]
        assert (price["own"], price["price_micro"], price["volume"]) == (True, 400_000, [{"above": 60_000, "factor": "0.9"}])
        assert (theirs.json()["models"]["testcard"]["own"], theirs.headers["etag"] == listed.headers["etag"]) == (False, False)
        assert client.get("/v1/models", headers=mine.bearer).json()["data"][0]["price"] == price
        body = {"model": "testcard", "prompt": "a lamp", "seconds": 1}
        estimate = client.post("/v1/estimate", headers=mine.bearer, json=body).raise_for_status().json()
        assert [tier["explanation"] for tier in estimate["tiers"]] == ["2.000 s (minimum 2.000 s for 1.000 s) × ¥0.40 = ¥0.80"]
        assert estimate["price_version"] == price["version"]


def test_a_price_by_the_image_is_shown_as_one_and_never_charged_for_seconds(desk: Stack) -> None:
    mine = desk.customer()
    stills = RateCard("CNY", {"testcard": ModelRates(200_000, {"720p": 10_000}, {"standard": 10_000}, unit="image")})
    desk.database(lambda conn: publish(conn, stills, customer_id=mine.org_id))
    body = {"model": "testcard", "prompt": "a lamp", "seconds": 1}
    with httpx.Client(base_url=desk.base_url, headers=mine.bearer) as client:
        price = client.get("/v1/prices").json()["models"]["testcard"]
        assert (price["unit"], price["price_micro"]) == ("image", 200_000)
        for path in ("/v1/estimate", "/v1/jobs"):
            refused = client.post(path, json=body)
            assert refused.status_code == 400
            assert "there is no price for testcard by the second" in refused.text

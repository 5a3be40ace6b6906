"""How a request is read, refused, repeated and broken."""

import asyncio
from itertools import product

import httpx
import pytest
import stripe
from stripe import StripeClient

from tests.stripe.control import Control
from tests.stripe.server.server import Server

PAYMENT: stripe.params.PaymentIntentCreateParams = {
    "amount": 1000,
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "confirm": True,
    "allowed_payment_method_types": ["card"],
}
KEY: stripe.RequestOptions = {"idempotency_key": "k1"}


async def test_the_same_key_replays_and_other_parameters_are_refused(stripe_client: StripeClient) -> None:
    first = await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)
    again = await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)
    assert again.id == first.id
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError):
        await stripe_client.v1.customers.create_async({"name": "Eva"}, KEY)
    assert len((await stripe_client.v1.customers.list_async()).data) == 1


async def test_a_key_is_forgotten_after_a_day(stripe_client: StripeClient, control: Control) -> None:
    first = await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)
    await control.advance(24 * 3600)
    assert (await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)).id != first.id


async def test_a_second_request_while_the_first_runs_is_a_conflict(stripe_client: StripeClient, control: Control) -> None:
    await control.fault("hold", path="/v1/customers")
    first = asyncio.create_task(stripe_client.v1.customers.create_async({"name": "Ada"}, KEY))
    while not await control.requests():
        pass
    with pytest.raises(stripe.APIError) as caught:
        await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)
    assert caught.value.error is not None
    assert (caught.value.http_status, caught.value.error.code) == (409, "idempotency_key_in_use")
    await control.release()
    assert (await first).name == "Ada"


async def test_an_answer_lost_after_the_commit_is_replayed(stripe_client: StripeClient, control: Control) -> None:
    for what in ("reset", "cut"):
        await control.fault(what, at="after", method="POST")
        with pytest.raises(stripe.APIConnectionError):
            await stripe_client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": what})
        again = await stripe_client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": what})
        assert again.last_response is not None
        assert again.last_response.headers["idempotent-replayed"] == "true"
    assert len((await stripe_client.v1.customers.list_async()).data) == 2


async def test_an_answer_may_hang_after_the_commit(stripe_client: StripeClient, control: Control) -> None:
    await control.fault("hold", at="after", method="POST")
    impatient = asyncio.create_task(stripe_client.v1.customers.create_async({"name": "Ada"}, KEY))
    while not (await stripe_client.v1.customers.list_async()).data:
        pass
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await control.release()
    again = await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"


FAULTS = {"reset before": ("reset", "before"), "reset after": ("reset", "after"), "cut after": ("cut", "after")}


async def test_whatever_breaks_a_request_that_is_repeated_happens_once(stripe_client: StripeClient, control: Control) -> None:
    histories = [history for length in range(4) for history in product(FAULTS, repeat=length)]
    for number, history in enumerate(histories):
        for fault in history:
            what, at = FAULTS[fault]
            await control.fault(what, at=at, path="/v1/payment_intents")
            with pytest.raises(stripe.APIConnectionError):
                await stripe_client.v1.payment_intents.create_async(PAYMENT, {"idempotency_key": str(number)})
            await control.clear_faults()
        paid = await stripe_client.v1.payment_intents.create_async(PAYMENT, {"idempotency_key": str(number)})
        assert paid.status == "succeeded"
    page = await stripe_client.v1.charges.list_async({"limit": 100})
    assert len(page.data) == len(histories) == 40


async def test_a_reset_before_anything_ran_leaves_nothing(stripe_client: StripeClient, control: Control) -> None:
    await control.fault("reset")
    with pytest.raises(stripe.APIConnectionError):
        await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)
    assert (await stripe_client.v1.customers.list_async()).data == []
    created = await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)
    assert created.last_response is not None
    assert "idempotent-replayed" not in created.last_response.headers


async def test_a_server_error_is_replayed_and_a_rate_limit_is_not(stripe_client: StripeClient, control: Control) -> None:
    await control.fault("error", status=500)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await stripe_client.v1.customers.create_async({"name": "Ada"}, KEY)
    await control.fault("error", status=429, type="invalid_request_error", code="lock_timeout")
    with pytest.raises(stripe.RateLimitError):
        await stripe_client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k2"})
    assert (await stripe_client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k2"})).name == "Ada"


async def test_a_decline_is_replayed_and_a_malformed_request_is_not(stripe_client: StripeClient) -> None:
    wanted: stripe.params.PaymentIntentCreateParams = {**PAYMENT, "payment_method": "pm_card_visa_chargeDeclined"}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            await stripe_client.v1.payment_intents.create_async(wanted, KEY)
    assert len((await stripe_client.v1.payment_intents.list_async()).data) == 1
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_client.v1.payment_intents.create_async({**wanted, "amount": 1}, {"idempotency_key": "k2"})
    with pytest.raises(stripe.CardError):
        await stripe_client.v1.payment_intents.create_async(wanted, {"idempotency_key": "k2"})


@pytest.mark.parametrize(
    "body, code, param",
    [
        ("amount=ten&currency=usd", "parameter_invalid_integer", "amount"),
        ("currency=usd", "parameter_missing", "amount"),
        ("amount=1000&currency=usd&colour=red", "parameter_unknown", "colour"),
        ("amount=1000&currency=usd&payment_method_options[card][colour]=red", None, None),
        ("amount=1000&currency=xxx", None, "currency"),
        ("amount=49&currency=usd", "amount_too_small", "amount"),
        ("amount=1000&currency=usd&customer=cus_none", "resource_missing", "customer"),
        ("amount=1000&currency=usd&confirm=maybe", None, "confirm"),
        ("amount[a]=1&currency=usd", None, "amount"),
    ],
)
async def test_parameters_are_read_as_stripe_reads_them(
    stripe_server: Server, body: str, code: str | None, param: str | None
) -> None:
    async with httpx.AsyncClient(base_url=stripe_server.url) as client:
        answer = await client.post("/v1/payment_intents", content=body, headers={"authorization": "Bearer sk_test_offline"})
    if code is None and param is None:
        assert answer.status_code == 200
        return
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error.get("param")) == (code, param)
    assert error["request_log_url"].endswith(answer.headers["request-id"])


async def test_a_wrong_key_and_a_wrong_path_are_refused(stripe_server: Server, stripe_client: StripeClient) -> None:
    async with httpx.AsyncClient(base_url=stripe_server.url) as client:
        assert (await client.get("/v1/customers")).status_code == 401
        assert (await client.get("/v1/customers", headers={"authorization": "Bearer sk_test_other"})).status_code == 401
        assert (await client.get("/v1/customers", auth=("sk_test_offline", ""))).status_code == 200
        assert (await client.get("/v1/nothing", auth=("sk_test_offline", ""))).status_code == 404
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await stripe_client.v1.customers.retrieve_async("cus_none")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


async def test_another_version_is_refused(stripe_server: Server) -> None:
    async with httpx.AsyncClient(base_url=stripe_server.url, auth=("sk_test_offline", "")) as client:
        answer = await client.get("/v1/customers", headers={"stripe-version": "2020-08-27"})
    assert answer.status_code == 400
    assert "version" in answer.json()["error"]["message"]


async def test_a_list_is_read_page_by_page(stripe_client: StripeClient) -> None:
    made = [(await stripe_client.v1.customers.create_async({"name": str(number)})).id for number in range(7)]
    page = await stripe_client.v1.customers.list_async({"limit": 3})
    assert [one.id for one in page.data] == made[:-4:-1]
    assert page.has_more
    assert [one.id async for one in page.auto_paging_iter()] == made[::-1]
    back = await stripe_client.v1.customers.list_async({"limit": 2, "ending_before": made[0]})
    assert [one.id for one in back.data] == [made[2], made[1]]


async def test_metadata_is_merged_and_cleared(stripe_client: StripeClient) -> None:
    customer = await stripe_client.v1.customers.create_async({"metadata": {"a": "1", "b": "2"}})
    customer = await stripe_client.v1.customers.update_async(customer.id, {"metadata": {"a": "", "c": "3"}})
    assert customer.metadata is not None and customer.metadata.to_dict() == {"b": "2", "c": "3"}
    customer = await stripe_client.v1.customers.update_async(customer.id, {"metadata": ""})
    assert customer.metadata is not None and customer.metadata.to_dict() == {}

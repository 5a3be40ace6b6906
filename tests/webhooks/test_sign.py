"""Messages are what the libraries of receivers accept, and nothing that was tampered with is."""

from datetime import UTC, datetime

import msgspec
import openai
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from billing.kit.ids import new_id
from gateway.webhooks.model import Endpoint, Message
from gateway.webhooks.sign import Secrets
from tests.webhooks.conftest import SECRETS

BODY = b'{"id":"evt_1","object":"event","created_at":1764000000,"type":"video.completed","data":{"id":"job_1"}}'
ENDPOINT = Endpoint(
    org_id=new_id(),
    id=new_id(),
    livemode=True,
    kind="url",
    url="https://example.com/",
    form="openai",
    events=[],
    description="",
    generation=2,
    rotated_at=None,
    old_until=None,
    old_valid=False,
    failing_since=None,
    disabled_at=None,
    disabled_reason=None,
    created_at=datetime.now(UTC),
    version=2,
)


def secret(generation: int) -> str:
    return SECRETS.of(ENDPOINT.org_id, ENDPOINT.id, generation)


def message(*, old_valid: bool = False) -> Message:
    return SECRETS.message(msgspec.structs.replace(ENDPOINT, old_valid=old_valid), BODY, delivery_id=new_id())


def test_the_openai_sdk_takes_it() -> None:
    sent = message()
    with openai.OpenAI(api_key="unused", webhook_secret=secret(2)) as client:
        event = client.webhooks.unwrap(sent.body.decode(), sent.headers)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(sent.body + b" ", sent.headers)
    assert event.type == "video.completed"


def test_the_library_of_the_standard_takes_it() -> None:
    sent = message()
    assert Webhook(secret(2)).verify(sent.body, sent.headers) == msgspec.json.decode(BODY)


def test_while_two_secrets_are_valid_either_verifies_and_then_one_only() -> None:
    both, one = message(old_valid=True), message()
    for generation in (1, 2):
        Webhook(secret(generation)).verify(both.body, both.headers)
    Webhook(secret(2)).verify(one.body, one.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(1)).verify(one.body, one.headers)


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_changed_header_or_body_is_found(header: str) -> None:
    sent = message()
    at = len("v1,") if header == "webhook-signature" else -1  # the last character of a signature has bits that say nothing
    value = list(sent.headers[header])
    value[at] = "0" if value[at] != "0" else "1"
    changed = "".join(value)
    for headers, body in (({**sent.headers, header: changed}, sent.body), (sent.headers, sent.body.replace(b"job_1", b"job_2"))):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret(2)).verify(body, headers)


def test_every_endpoint_generation_and_installation_has_a_secret_of_its_own() -> None:
    org, other, endpoint = new_id(), new_id(), new_id()
    elsewhere = Secrets("the secret of another installation, as long")
    secrets = {
        SECRETS.of(org, endpoint, 1), SECRETS.of(org, endpoint, 2), SECRETS.of(other, endpoint, 1), SECRETS.of(org, other, 1),
        elsewhere.of(org, endpoint, 1),
    }  # fmt: skip
    assert len(secrets) == 5
    assert SECRETS.of(org, endpoint, 1) in secrets  # and it is the same whenever it is asked for

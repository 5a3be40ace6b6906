"""Standard Webhooks signatures (https://www.standardwebhooks.com).

Secrets are derived from the operator's own and never stored: a copy of the database forges nothing.
"""

import base64
import hmac
import time
from uuid import UUID

from gateway.webhooks.model import Claimed, Endpoint, Message, message_id


class Secrets:
    """Every endpoint's signing secrets. `master` is the setting `webhook_secret`."""

    def __init__(self, master: str) -> None:
        self._master = master.encode()

    def of(self, org_id: UUID, endpoint_id: UUID, generation: int) -> str:
        """`whsec_` and 32 bytes in base64."""
        return "whsec_" + base64.b64encode(self._key(org_id, endpoint_id, generation)).decode()

    def message(self, by: Endpoint | Claimed, body: bytes, *, delivery_id: UUID) -> Message:
        """The message of a delivery sent now; while two secrets are valid it carries a signature of each."""
        endpoint_id = by.endpoint_id if isinstance(by, Claimed) else by.id
        generations = (by.generation, by.generation - 1) if by.old_valid else (by.generation,)
        name, at = message_id(delivery_id), str(int(time.time()))
        signed = f"{name}.{at}.".encode() + body
        digests = [hmac.digest(self._key(by.org_id, endpoint_id, one), signed, "sha256") for one in generations]
        headers = {
            "content-type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": at,
            "webhook-signature": " ".join("v1," + base64.b64encode(digest).decode() for digest in digests),
        }
        return Message(headers, body)

    def _key(self, org_id: UUID, endpoint_id: UUID, generation: int) -> bytes:
        return hmac.digest(self._master, f"webhook/{org_id}/{endpoint_id}/{generation}".encode(), "sha256")

"""Everything a route may use, made once per process by app.py."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping

from billing.kit.listen import Wake
from billing.kit.query import Pool
from billing.pricing.book import PriceBook
from billing.stripe.desk import Desk
from gateway.access.authenticate import Authenticator
from gateway.access.uses import KeyUses
from gateway.admit import Admission
from gateway.egress.fetch import Fetcher
from gateway.fleet.editions.current import Current
from gateway.fleet.promises.quotes import Quotes
from gateway.jobs.read import JobReader
from gateway.media.headroom import Headroom
from gateway.media.pool import DecoderPool
from gateway.media.signing import LinkSigner
from gateway.media.store import MediaStore
from gateway.people.door import Door
from gateway.quotas.pace import ReadPace
from gateway.requests.log import RequestLog
from gateway.settings import Settings
from gateway.video import ModelLimits
from gateway.webhooks.model import Delivery
from gateway.webhooks.sign import Secrets


@dataclasses.dataclass(frozen=True, slots=True)
class Gateway:
    """One API process."""

    settings: Settings
    catalogue: Current
    pool: Pool
    prices: PriceBook
    authenticator: Authenticator
    reads: ReadPace
    key_uses: KeyUses
    admission: Admission
    reader: JobReader
    quotes: Quotes
    store: MediaStore
    headroom: Headroom
    decoders: DecoderPool
    fetcher: Fetcher
    signer: LinkSigner
    webhook_secrets: Secrets
    message_body: Callable[[Delivery], Awaitable[bytes | None]]
    """What a delivery says; None when its job was deleted."""
    requests: RequestLog
    door: Door | None
    """Where people sign in; None where none do."""
    desk: Desk | None
    """Where payments are taken; None where none are."""
    changes: Wake
    """Rings when some job changed."""
    closing: asyncio.Event
    """Set when the process is asked to stop: streams end themselves."""

    @property
    def models(self) -> Mapping[str, ModelLimits]:
        """Those that can be asked for, by name."""
        return self.catalogue.models

    @property
    def default_model(self) -> str:
        return self.catalogue.default_model

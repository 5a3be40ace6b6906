"""Every error a client can meet, on one page: a stable code, an HTTP status, and a sentence that says what to do.

    GatewayError
    ├── 400 InvalidRequest · UnsupportedField · UnknownModel · InvalidMedia · WebhookRefused
    ├── 401 Unauthenticated · NotSignedIn
    ├── 402 InsufficientBalance · PlanPastDue · PaymentRefused
    ├── 403 LinkRefused · Forbidden · KeyRestricted · SignInRefused · SecondFactorRequired · CrossSiteRefused
    ├── 404 NotFound · ArtifactGone
    ├── 405 MethodNotAllowed
    ├── 409 IdempotencyInProgress · JobNotFinished · ReplicaConflict · Conflict
    ├── 412 PreconditionFailed
    ├── 413 TooLarge
    ├── 415 UnsupportedContent
    ├── 416 RangeNotSatisfiable
    ├── 422 IdempotencyMismatch
    ├── 428 PreconditionRequired
    ├── 429 FreeBudgetSpent · QuotaExceeded · FleetBusy · RateLimited · SignInPaused
    ├── 431 HeadersTooLarge
    └── 5xx InternalError · WebhooksOff · SignInOff · ProviderFailed · Unavailable · OutcomeUnknown · NoSpace

The class docstring is the public text; a dialect only chooses the shape it is wrapped in. `retry` answers the
`x-should-retry` header that Stainless-made SDKs obey: None leaves it to the client.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar

import msgspec


class GatewayError(Exception):
    """The request could not be served."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retry: bool | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    """What is said besides, in fields of its own."""

    def __init__(self, message: str = "", *, param: str | None = None, retry_after_s: int | None = None) -> None:
        self.message = message or type(self).__doc__ or self.code
        self.param = param
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.code}: {self.message}")


class InvalidRequest(GatewayError):
    """A field is missing or out of range. Correct the named field and send the request again."""

    code, status = "invalid_request", 400


class UnsupportedField(GatewayError):
    """This field is not supported here. Remove it, or use a key created with --lenient to have such fields ignored."""

    code, status = "unsupported_field", 400


class UnknownModel(GatewayError):
    """There is no such model. GET /v1/models lists those this key may use."""

    code, status = "unknown_model", 400


class InvalidMedia(GatewayError):
    """An input image could not be accepted or fetched. Send a PNG, JPEG or WebP within the stated limits."""

    code, status = "invalid_media", 400


class WebhookRefused(GatewayError):
    """This is no message of the payment provider as it sent it. Check the signing secret, the clock and the proxies."""

    code, status, retry = "webhook_refused", 400, False


class Unauthenticated(GatewayError):
    """The API key is missing, unknown, expired or revoked. Send a valid key as 'Authorization: Bearer tl_…'."""

    code, status = "invalid_api_key", 401


class NotSignedIn(GatewayError):
    """There is no session, or it has ended. Sign in, or send a management key."""

    code, status, retry = "not_signed_in", 401, False


class InsufficientBalance(GatewayError):
    """The wallet does not cover the most this request may cost. Top it up, or ask for fewer seconds or a smaller size."""

    code, status, retry = "insufficient_balance", 402, False


class PlanPastDue(GatewayError):
    """A fee or an invoice of your plan is not paid, so no new job may start; jobs that run are finished. Pay it to go on."""

    code, status, retry = "plan_past_due", 402, False


class PaymentRefused(GatewayError):
    """The payment was refused and nothing was charged. Use another method or amount; the message says why."""

    code, status, retry = "payment_refused", 402, False


class LinkRefused(GatewayError):
    """This link is not valid or has expired. Fetch the job again for a new one."""

    code, status = "link_refused", 403


class Forbidden(GatewayError):
    """This key or role may not do this. The message names the scope that is missing and the roles that have it."""

    code, status, retry = "forbidden", 403, False


class KeyRestricted(GatewayError):
    """This key is restricted. The message names the rule, the value and what is accepted; ask for that or use another key."""

    code, status, retry = "key_restricted", 403, False


class SignInRefused(GatewayError):
    """The address, the password or the code is not right, or it was used before. Check it and try again."""

    code, status, retry = "sign_in_refused", 403, False


class SecondFactorRequired(GatewayError):
    """The password was right; now show a code of your authenticator, or enrol one. Until then this session opens nothing."""

    code, status, retry = "second_factor_required", 403, False


class CrossSiteRefused(GatewayError):
    """This request did not come from a page of ours. Send it from there, with the session's csrf_token as X-CSRF-Token."""

    code, status, retry = "cross_site_refused", 403, False


class NotFound(GatewayError):
    """There is nothing under this id or path for this key. Check the id and that the key belongs to the same organization."""

    code, status = "not_found", 404


class ArtifactGone(GatewayError):
    """The job has no such file: it is not finished, did not succeed, or its files have expired."""

    code, status = "artifact_not_available", 404


class MethodNotAllowed(GatewayError):
    """This path does not answer that method. The OpenAPI document at /openapi.json lists what it answers."""

    code, status = "method_not_allowed", 405


class IdempotencyInProgress(GatewayError):
    """A request with this Idempotency-Key is being processed. Send it again in a second to receive its answer."""

    code, status, retry = "idempotency_in_progress", 409, True


class JobNotFinished(GatewayError):
    """The job is still being worked on. Cancel it, or wait until it is finished, before deleting it."""

    code, status, retry = "job_not_finished", 409, False


class ReplicaConflict(GatewayError):
    """The replica is in a state, or declared by a source, that does not allow this. The message says what does."""

    code, status, retry = "replica_conflict", 409, False


class Conflict(GatewayError):
    """What is there does not allow this. The message says what stands against it."""

    code, status, retry = "conflict", 409, False


class StatementRefused(GatewayError):
    """Nothing of this file was taken in. Correct the rows that the message names and send the whole file again."""

    code, status, retry = "statement_refused", 422, False


class PreconditionFailed(GatewayError):
    """This was changed since you read it. Read it again and send its new ETag as If-Match."""

    code, status, retry = "precondition_failed", 412, False


class TooLarge(GatewayError):
    """The request body is larger than this route accepts. Send a smaller one."""

    code, status = "request_too_large", 413


class UnsupportedContent(GatewayError):
    """This route does not read that content type. Send application/json or multipart/form-data in UTF-8."""

    code, status = "unsupported_content_type", 415


class RangeNotSatisfiable(GatewayError):
    """The requested range lies outside the file."""

    code, status = "range_not_satisfiable", 416


class IdempotencyMismatch(GatewayError):
    """This Idempotency-Key was used with another request. Use a new key for a new request."""

    code, status, retry = "idempotency_mismatch", 422, False


class PreconditionRequired(GatewayError):
    """Say what you have read: send the ETag of its last answer as If-Match, or If-Match: * to change it whatever it is now."""

    code, status, retry = "precondition_required", 428, False


class FreeBudgetSpent(GatewayError):
    """What free work may cost us today is used up. Try again tomorrow, or top your wallet up to pay for this job."""

    code, status, retry = "free_budget_spent", 429, False


class QuotaFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The quota that refused a request, in the unit of its meter. `resets_at` is null where only the end of a job makes room."""

    name: str
    scope: str
    subject: str
    meter: str
    limit: int
    used: int
    held: int
    requested: int
    resets_at: datetime | None


class QuotaExceeded(GatewayError):
    """A quota of your organization does not allow this now. The message names it, what is used and held, and when it resets."""

    code, status = "quota_exceeded", 429

    def __init__(
        self,
        message: str = "",
        *,
        quota: QuotaFigures | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        final: bool = False,
        retry_after_s: int | None = None,
    ) -> None:
        """`final`: waiting does not help soon."""
        super().__init__(message, retry_after_s=retry_after_s)
        self.quota, self.headers, self.retry = quota, headers, False if final else None


class FleetBusy(GatewayError):
    """The fleet cannot promise a start in this tier now. Send it again after Retry-After, or ask for another tier."""

    code, status, retry = "fleet_busy", 429, True


class RateLimited(GatewayError):
    """This route takes only so many requests a second. Send it again after Retry-After."""

    code, status, retry = "rate_limited", 429, True


class SignInPaused(GatewayError):
    """Too many attempts have failed here. Try again after Retry-After; sessions that were begun before are not affected."""

    code, status, retry = "sign_in_paused", 429, True


class HeadersTooLarge(GatewayError):
    """The request has too many or too large headers. Send fewer than 100 headers and less than 64 KiB of them."""

    code, status = "headers_too_large", 431


class InternalError(GatewayError):
    """Something failed on our side; nothing was charged. Send the request again, and quote x-request-id if it persists."""

    code, status = "internal_error", 500


class Unavailable(GatewayError):
    """The gateway cannot take this request now and holds nothing for it. Send it again after Retry-After."""

    code, status, retry = "unavailable", 503, True


class WebhooksOff(GatewayError):
    """This gateway has no webhooks. Poll jobs or follow their events; its operator would have to set webhook_secret."""

    code, status, retry = "webhooks_off", 501, False


class SignInOff(GatewayError):
    """Nobody signs in at this gateway. Use management keys; its operator would have to set sign_in_secret."""

    code, status, retry = "sign_in_off", 501, False


class ProviderFailed(GatewayError):
    """The organization's sign-in provider did not answer as it must. The message says how; tell whoever set it up."""

    code, status, retry = "sign_in_provider_failed", 502, True


class OutcomeUnknown(GatewayError):
    """The database was lost while storing this request. Send it again with the same Idempotency-Key, or list your jobs."""

    code, status, retry = "outcome_unknown", 503, True


class NoSpace(GatewayError):
    """The gateway is out of storage for results and takes no new work. Send the request again later."""

    code, status, retry = "out_of_storage", 507, True

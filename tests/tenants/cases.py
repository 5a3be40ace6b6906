"""Every operation of the served document that takes an id of somebody's, with one call for each place of it; the rest, and why not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

JSON = dict[str, Any]


class Case(NamedTuple):
    """One call: `{}` is the id in question, `{kind}` an id of the caller's own. `makes`: the answer is about something new."""

    kind: str
    path: str
    body: JSON | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    makes: bool = False


ANY = {"if-match": "*"}
VIDEO: JSON = {"model": "testcard", "prompt": "a lamp", "seconds": 1}
TASK: JSON = {"model": "testcard", "content": [{"type": "text", "text": "a lamp"}]}
PAY: JSON = {"return_url": "https://example.com"}
TOKEN = {"idempotency-key": "{}"}

CASES: dict[str, list[Case]] = {
    "GET /v1/jobs": [Case("job_cursor", "/v1/jobs?cursor={}")],
    "POST /v1/jobs": [Case("token", "/v1/jobs", VIDEO, TOKEN, makes=True)],
    "GET /v1/jobs/{job_id}": [Case("finished0", "/v1/jobs/{}"), Case("queued", "/v1/jobs/{}")],
    "GET /v1/jobs/{job_id}/artifacts/{name}": [Case("finished0", "/v1/jobs/{}/artifacts/video")],
    "HEAD /v1/jobs/{job_id}/artifacts/{name}": [Case("finished0", "/v1/jobs/{}/artifacts/video")],
    "GET /v1/jobs/{job_id}/events": [Case("finished0", "/v1/jobs/{}/events")],
    "POST /v1/jobs/{job_id}/cancel": [Case("queued", "/v1/jobs/{}/cancel")],
    "DELETE /v1/jobs/{job_id}": [Case("finished1", "/v1/jobs/{}"), Case("queued", "/v1/jobs/{}")],
    "GET /v1/files/{org}/{job_id}/{name}": [
        Case("org", "/v1/files/{}/{finished0}/video?{signed}"),
        Case("finished0", "/v1/files/{org}/{}/video?{signed}"),
    ],
    "HEAD /v1/files/{org}/{job_id}/{name}": [
        Case("org", "/v1/files/{}/{finished0}/video?{signed}"),
        Case("finished0", "/v1/files/{org}/{}/video?{signed}"),
    ],
    "GET /v1/videos": [Case("finished1", "/v1/videos?after={}"), Case("finished1", "/v1/videos?order=asc&after={}")],
    "POST /v1/videos": [Case("token", "/v1/videos", {"prompt": "a lamp", "seconds": "1"}, TOKEN, makes=True)],
    "GET /v1/videos/{video_id}": [Case("finished0", "/v1/videos/{}")],
    "GET /v1/videos/{video_id}/content": [Case("finished0", "/v1/videos/{}/content")],
    "HEAD /v1/videos/{video_id}/content": [Case("finished0", "/v1/videos/{}/content")],
    "DELETE /v1/videos/{video_id}": [Case("finished2", "/v1/videos/{}"), Case("queued", "/v1/videos/{}")],
    "POST /v1/videos/{video_id}/remix": [Case("finished0", "/v1/videos/{}/remix", {"prompt": "a lamp"})],
    "GET /v1/videos/characters/{character_id}": [Case("finished0", "/v1/videos/characters/{}")],
    "GET /api/v3/contents/generations/tasks": [
        Case("finished0", "/api/v3/contents/generations/tasks?filter.task_ids={}"),
    ],
    "POST /api/v3/contents/generations/tasks": [
        Case("token", "/api/v3/contents/generations/tasks", TASK, TOKEN, makes=True),
    ],
    "GET /api/v3/contents/generations/tasks/{task_id}": [Case("finished0", "/api/v3/contents/generations/tasks/{}")],
    "DELETE /api/v3/contents/generations/tasks/{task_id}": [
        Case("finished3", "/api/v3/contents/generations/tasks/{}"),
        Case("queued", "/api/v3/contents/generations/tasks/{}"),
    ],
    "GET /v1/keys": [Case("key", "/v1/keys?cursor={hex}"), Case("project", "/v1/keys?project_id={}")],
    "POST /v1/keys": [Case("project", "/v1/keys", {"name": "x", "project_id": "{}"})],
    "GET /v1/keys/{key_id}": [Case("key", "/v1/keys/{}")],
    "PATCH /v1/keys/{key_id}": [Case("key", "/v1/keys/{}", {"name": "taken"}, ANY)],
    "POST /v1/keys/{key_id}/rotate": [Case("key", "/v1/keys/{}/rotate", {"overlap_s": 0})],
    "POST /v1/keys/{key_id}/revoke": [Case("key", "/v1/keys/{}/revoke")],
    "GET /v1/projects": [Case("project", "/v1/projects?cursor={hex}")],
    "GET /v1/projects/{project_id}": [Case("project", "/v1/projects/{}")],
    "PATCH /v1/projects/{project_id}": [Case("project", "/v1/projects/{}", {"name": "taken"}, ANY)],
    "GET /v1/members": [Case("member", "/v1/members?cursor={hex}")],
    "GET /v1/members/{member_id}/sessions": [Case("member", "/v1/members/{}/sessions")],
    "DELETE /v1/members/{member_id}/sessions": [Case("member", "/v1/members/{}/sessions")],
    "GET /v1/invitations": [Case("invitation", "/v1/invitations?cursor={hex}")],
    "POST /v1/invitations/{invitation_id}/revoke": [Case("invitation", "/v1/invitations/{}/revoke")],
    "GET /v1/members/{member_id}": [Case("member", "/v1/members/{}")],
    "PATCH /v1/members/{member_id}": [Case("member", "/v1/members/{}", {"role": "developer"}, ANY)],
    "DELETE /v1/members/{member_id}": [Case("member", "/v1/members/{}", None, ANY)],
    "GET /v1/quotas": [Case("quota", "/v1/quotas?cursor={hex}"), Case("end_user", "/v1/quotas?end_user={}")],
    "POST /v1/quotas": [
        Case(
            "project",
            "/v1/quotas",
            {"name": "x", "scope": "project", "subject": "{}", "meter": "requests", "per": "day", "limit": 1},
        ),
        Case("key", "/v1/quotas", {"name": "x", "scope": "key", "subject": "{}", "meter": "requests", "per": "day", "limit": 1}),
    ],
    "GET /v1/quotas/{quota_id}": [Case("quota", "/v1/quotas/{}"), Case("key", "/v1/quotas/{quota}?subject={}")],
    "PATCH /v1/quotas/{quota_id}": [Case("quota", "/v1/quotas/{}", {"limit": 1}, ANY)],
    "DELETE /v1/quotas/{quota_id}": [Case("quota", "/v1/quotas/{}", None, ANY)],
    "GET /v1/webhooks/{webhook_id}": [Case("webhook", "/v1/webhooks/{}")],
    "PATCH /v1/webhooks/{webhook_id}": [Case("webhook", "/v1/webhooks/{}", {"description": "taken"}, ANY)],
    "GET /v1/webhooks/{webhook_id}/secret": [Case("webhook", "/v1/webhooks/{}/secret")],
    "POST /v1/webhooks/{webhook_id}/rotate": [Case("webhook", "/v1/webhooks/{}/rotate", {})],
    "POST /v1/webhooks/{webhook_id}/trigger": [Case("webhook", "/v1/webhooks/{}/trigger", {"event": "job.failed"})],
    "GET /v1/webhooks/{webhook_id}/deliveries": [
        Case("webhook", "/v1/webhooks/{}/deliveries"),
        Case("message", "/v1/webhooks/{webhook}/deliveries?after={}"),
    ],
    "GET /v1/webhook-deliveries/{message_id}": [Case("message", "/v1/webhook-deliveries/{}")],
    "POST /v1/webhook-deliveries/{message_id}/outcome": [
        Case("message", "/v1/webhook-deliveries/{}/outcome", {"took_ms": 1, "status": 500}),
    ],
    "POST /v1/webhook-deliveries/{message_id}/resend": [Case("message", "/v1/webhook-deliveries/{}/resend")],
    "DELETE /v1/webhooks/{webhook_id}": [Case("webhook", "/v1/webhooks/{}")],
    "GET /v1/invoices": [Case("invoice", "/v1/invoices?after={}")],
    "GET /v1/invoices/{invoice_id}": [Case("invoice", "/v1/invoices/{}")],
    "GET /v1/invoices/{invoice_id}/pdf": [Case("invoice", "/v1/invoices/{}/pdf")],
    "GET /v1/invoices/{invoice_id}/xml": [Case("invoice", "/v1/invoices/{}/xml")],
    "GET /v1/payments": [Case("payment", "/v1/payments?cursor={hex}")],
    "GET /v1/payments/{payment_id}": [Case("payment", "/v1/payments/{}")],
    "POST /v1/payments": [
        Case("invoice", "/v1/payments", {**PAY, "purpose": "invoice", "subject": "{}"}),
        Case("token", "/v1/payments", {**PAY, "amount_minor": 100}, TOKEN, makes=True),
    ],
    "DELETE /v1/payment-methods/{method_id}": [Case("method", "/v1/payment-methods/{}")],
    "GET /v1/earnings": [Case("payee", "/v1/earnings?cursor={hex}")],
    "GET /v1/earnings/{payee_id}/statement": [Case("payee", "/v1/earnings/{}/statement?month=2026-10")],
    "GET /v1/earnings/{payee_id}/accruals": [
        Case("payee", "/v1/earnings/{}/accruals"),
        Case("payee", "/v1/earnings/{payee}/accruals?cursor={hex}"),
    ],
    "GET /v1/earnings/{payee_id}/payouts": [
        Case("payee", "/v1/earnings/{}/payouts"),
        Case("payee", "/v1/earnings/{payee}/payouts?cursor={hex}"),
    ],
    "GET /v1/audit": [Case("quota", "/v1/audit?object={}"), Case("key", "/v1/audit?actor={}")],
    "GET /v1/requests": [Case("key", "/v1/requests?caller={}"), Case("request", "/v1/requests?limit=1&status=418&cursor={hex}")],
    "GET /v1/requests/groups": [Case("key", "/v1/requests/groups?caller={}")],
    "GET /v1/usage": [
        Case("project", "/v1/usage?{now}&project={}"),
        Case("key", "/v1/usage?{now}&key={}&format=csv"),
    ],
    "GET /v1/usage/jobs": [
        Case("project", "/v1/usage/jobs?{now}&project={}"),
        Case("key", "/v1/usage/jobs?{now}&key={}&format=csv"),
        Case("usage_cursor", "/v1/usage/jobs?{now}&limit=1&cursor={}"),
    ],
}

WITHOUT: dict[str, str] = {
    "POST /v1/estimate": "nothing is stored or named",
    "GET /v1/models": "the catalogue, and the caller's own prices",
    "GET /v1/models/{model_id}": "the catalogue, and the caller's own prices",
    "GET /v1/prices": "the caller's own prices",
    "GET /v1/plan": "the caller's own",
    "GET /v1/plans": "the same for everybody",
    "GET /v1/events": "`after` is a place in a list",
    "GET /v1/statement": "the caller's own wallet; `asset` names no one",
    "GET /v1/organization": "the caller's own",
    "PATCH /v1/organization": "the caller's own",
    "POST /v1/projects": "names nothing that is there",
    "POST /v1/members": "names nobody that is there",
    "POST /v1/invitations": "names nobody that is there",
    "GET /v1/sign-in-provider": "the caller's own",
    "PUT /v1/sign-in-provider": "the caller's own",
    "DELETE /v1/sign-in-provider": "the caller's own",
    "POST /v1/invitations/accept": "a person's own",
    "POST /v1/sign-in": "a person's own",
    "POST /v1/sign-in/enrolment": "a person's own",
    "POST /v1/sign-in/code": "a person's own",
    "POST /v1/sign-in/password": "a person's own",
    "GET /v1/sign-in/provider/{org_id}": "public; where it leads is tried in tests/people/test_provider.py",
    "GET /v1/sign-in/provider/{org_id}/return": "a person's own",
    "GET /v1/session": "a person's own",
    "DELETE /v1/session": "a person's own",
    "GET /v1/sessions": "a person's own",
    "DELETE /v1/sessions/{session_id}": "a person's own",
    "POST /v1/session/password": "a person's own",
    "POST /v1/session/second-factor": "a person's own",
    "GET /v1/webhooks": "the caller's own",
    "POST /v1/webhooks": "names nothing that is there",
    "GET /v1/paying": "the caller's own",
    "PUT /v1/paying": "the caller's own",
    "GET /v1/payment-methods": "the caller's own",
    "POST /v1/payment-methods": "names nothing that is there",
    "POST /v1/paying/portal": "the caller's own",
    "GET /v1/videos/characters": "refused, whatever is asked",
    "POST /v1/videos/characters": "refused, whatever is asked",
    "POST /v1/videos/edits": "refused, whatever is asked",
    "POST /v1/videos/extensions": "refused, whatever is asked",
    "POST /v1/leaked-keys": "whoever holds a key's secret may end it; tests/api/test_keys.py",
    "GET /v1/prices/{currency}": "public",
    "GET /docs": "public",
    "GET /docs/errors": "public",
    "GET /docs/{name}": "public",
    "GET /openapi.json": "public",
    "GET /health/live": "public",
    "GET /health/ready": "public",
    "POST /stripe/webhook": "Stripe's, signed; tests/api/test_payments.py",
    "GET /v1/fleet/catalogue": "the operator's",
    "PUT /v1/fleet/catalogue": "the operator's",
    "GET /v1/shares/payees": "the operator's",
    "POST /v1/shares/payees": "the operator's",
    "GET /v1/shares/payees/{reference}": "the operator's",
    "PATCH /v1/shares/payees/{reference}": "the operator's",
    "POST /v1/shares/payees/{reference}/connect": "the operator's",
    "GET /v1/shares/payees/{reference}/statement": "the operator's",
    "GET /v1/shares/payees/{reference}/accruals": "the operator's",
    "GET /v1/shares/payouts": "the operator's",
    "GET /v1/shares/payouts/{payout_id}": "the operator's",
    "POST /v1/shares/agreements": "the operator's",
    "GET /v1/shares/agreements": "the operator's",
    "GET /v1/shares/income": "the operator's",
    "POST /v1/shares/income": "the operator's",
    "POST /v1/shares/income/{network}/{reference}/settle": "the operator's",
    "GET /v1/shares/pools": "the operator's",
    "POST /v1/shares/pools": "the operator's",
    "POST /v1/shares/pools/{pool_id}/views": "the operator's",
    "GET /v1/fleet/replicas": "the operator's",
    "POST /v1/fleet/replicas": "the operator's",
    "GET /v1/fleet/replicas/{name}": "the operator's",
    "POST /v1/fleet/replicas/{name}/{verb}": "the operator's",
}

QUOTA: JSON = {"name": "{}", "scope": "organization", "meter": "requests", "per": "day", "limit": 1}

OWN: list[tuple[str, Case]] = [
    ("PUT /v1/paying", Case("", "/v1/paying", {"invoices": "send", "return_url": "https://example.com"})),
    ("GET /v1/webhooks/{webhook_id}", Case("", "/v1/webhooks/callbacks_live")),
    ("POST /v1/projects", Case("", "/v1/projects", {"name": "another"})),
    ("POST /v1/keys", Case("", "/v1/keys", {"name": "another"})),
    ("POST /v1/members", Case("", "/v1/members", {"email": "owner@example.com", "role": "owner"})),
    ("PATCH /v1/members/{member_id}", Case("", "/v1/members/{member}", {"role": "owner"}, ANY)),
    ("PATCH /v1/members/{member_id}", Case("", "/v1/members/{member}", {"role": "viewer"}, ANY)),
    ("POST /v1/invitations", Case("", "/v1/invitations", {"email": "new@example.com", "role": "viewer"})),
    ("DELETE /v1/sign-in-provider", Case("", "/v1/sign-in-provider")),
    ("POST /v1/quotas", Case("", "/v1/quotas", QUOTA)),
    ("PATCH /v1/quotas/{quota_id}", Case("", "/v1/quotas/{quota}", {"name": "another"}, ANY)),
    ("PATCH /v1/organization", Case("", "/v1/organization", {"name": "another"}, ANY)),
    ("PATCH /v1/projects/{project_id}", Case("", "/v1/projects/{project}", {"archived": True}, ANY)),
]
"""Calls about the caller's own: with the others, they run whatever a tenant may run. The last one ends its keys."""

UNSEEN = {
    *("billing.stripe.sql.PAYER_KNOWN_AS", "billing.stripe.sql.PAYER_TOLD"),
    *("gateway.people.sql.SET_PROVIDER", "gateway.people.sql.ADD_TRIP", "gateway.people.sql.END_TRIP"),
}
"""What a tenant runs once Stripe has answered (tests/api/test_payments.py), or its provider (tests/people/test_provider.py)."""

NO_IDS = {
    # path
    "name", "verb", "currency", "model_id",
    # query
    "limit", "state", "model", "tier", "page_num", "page_size", "filter.status", "filter.model", "filter.service_tier", "order",
    "variant", "expires", "signature", "kind", "action", "outcome", "since", "until", "status", "code", "month", "from", "to",
    "time_zone", "format", "asset", "group_by", "chip", "resolution", "task", "label", "wait",
    # a place in a list, and which of our own secrets has signed
    "GET /v1/audit after", "GET /v1/files/{org}/{job_id}/{name} key", "HEAD /v1/files/{org}/{job_id}/{name} key",
    # body: what the caller calls it
    "external_id",
}  # fmt: skip
"""What names no row of anybody's. Any other parameter, and any other field that ends in `_id`, is asked with somebody else's."""

"""Health and metrics; models, prices and documents stand beside this file."""

import asyncio
from typing import Literal

import msgspec
from litestar import Response, Router, get

from gateway.api.audit import list_audit_entries
from gateway.api.catalogue import get_model, list_models, list_prices, list_public_prices
from gateway.api.deliveries import (
    get_webhook_delivery,
    list_webhook_deliveries,
    record_webhook_outcome,
    resend_webhook_delivery,
    trigger_webhook,
)
from gateway.api.documents import docs, docs_errors, docs_file, openapi
from gateway.api.earnings import get_earnings_statement, list_earnings, list_earnings_accruals, list_earnings_payouts
from gateway.api.editions import edit_catalogue, get_catalogue
from gateway.api.fleet import change_one, get_one, list_all, register_one
from gateway.api.invitations import accept_invitation, create_invitation, list_all_invitations, revoke_one_invitation
from gateway.api.invoices import get_invoice, get_invoice_pdf, get_invoice_xml, list_invoices
from gateway.api.keys import change_one_key, create_one_key, get_one_key, list_all_keys, revoke_one_key, rotate_one_key
from gateway.api.leaked_keys import report_leaked_keys
from gateway.api.members import add_one_member, change_one_member, get_one_member, list_all_members, remove_one_member
from gateway.api.organizations import change_organization, get_organization
from gateway.api.payees import (
    change_one_payee,
    connect_payee,
    create_payee,
    get_payee,
    get_payee_statement,
    get_payout,
    list_payee_accruals,
    list_payees,
    list_payouts,
)
from gateway.api.payments import (
    change_paying,
    create_payment,
    forget_method,
    get_paying,
    get_payment,
    list_methods,
    list_payments,
    open_portal,
    save_method,
    take_event,
)
from gateway.api.plans import get_plan, list_events, list_plans
from gateway.api.projects import change_one_project, create_one_project, get_one_project, list_all_projects
from gateway.api.quotas import change_one_quota, create_one_quota, delete_one_quota, get_one_quota, list_all_quotas
from gateway.api.requests import group_requests, list_requests
from gateway.api.sessions import (
    change_own_password,
    end_member_sessions,
    end_own_session,
    get_session,
    list_member_sessions,
    list_own_sessions,
    replace_second_factor,
    sign_out,
)
from gateway.api.shares import (
    count_pool_views,
    create_agreement,
    create_pool,
    list_agreements,
    list_income,
    list_pools,
    settle_statement,
    take_income,
)
from gateway.api.sign_in import enrol_second_factor, reset_password, show_second_factor, sign_in
from gateway.api.sign_in_provider import (
    get_sign_in_provider,
    remove_sign_in_provider,
    return_from_provider,
    set_sign_in_provider,
    sign_in_at_provider,
)
from gateway.api.usage import get_statement, get_usage, list_used_jobs
from gateway.api.webhooks import (
    change_webhook,
    create_webhook,
    delete_webhook,
    get_webhook,
    get_webhook_secret,
    list_webhooks,
    rotate_webhook_secret,
)
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described
from gateway.edge.replies import json_reply
from gateway.telemetry.metrics import CONTENT_TYPE, exposition


class Health(msgspec.Struct, frozen=True):
    status: Literal["live", "ready"]


_HEALTH = Described(tag="About", answers={200: Answer("It does.", Health)}, public=True)


@get("/health/live", operation_id="health_live", opt={"described": _HEALTH})
async def live() -> Response[bytes]:
    """The process answers."""
    return json_reply(b'{"status":"live"}')


@get("/health/ready", operation_id="health_ready", opt={"described": _HEALTH})
async def ready(request: HttpRequest) -> Response[bytes]:
    """The process can take work: its database answers."""
    gateway = gateway_of(request)
    async with asyncio.timeout(5), gateway.pool.acquire(timeout=5) as conn:
        await conn.execute("SELECT 1")
    return json_reply(b'{"status":"ready"}')


@get("/metrics", operation_id="metrics", include_in_schema=False)
async def metrics() -> Response[bytes]:
    """Every metric of this machine's processes that share a metrics folder."""
    return Response(await asyncio.to_thread(exposition), media_type=CONTENT_TYPE)


router = Router(
    "/",
    route_handlers=[
        live,
        ready,
        metrics,
        list_models,
        get_model,
        list_prices,
        list_public_prices,
        get_usage,
        list_used_jobs,
        list_audit_entries,
        list_requests,
        group_requests,
        get_statement,
        list_plans,
        get_plan,
        list_events,
        list_invoices,
        get_invoice,
        get_invoice_pdf,
        get_invoice_xml,
        create_webhook,
        list_webhooks,
        get_webhook,
        change_webhook,
        delete_webhook,
        get_webhook_secret,
        rotate_webhook_secret,
        trigger_webhook,
        list_webhook_deliveries,
        get_webhook_delivery,
        resend_webhook_delivery,
        record_webhook_outcome,
        openapi,
        docs,
        docs_errors,
        docs_file,
        list_all,
        get_one,
        register_one,
        change_one,
        get_catalogue,
        edit_catalogue,
        get_organization,
        change_organization,
        list_all_projects,
        create_one_project,
        get_one_project,
        change_one_project,
        list_all_quotas,
        create_one_quota,
        get_one_quota,
        change_one_quota,
        delete_one_quota,
        list_all_keys,
        create_one_key,
        get_one_key,
        change_one_key,
        rotate_one_key,
        revoke_one_key,
        report_leaked_keys,
        list_all_members,
        add_one_member,
        get_one_member,
        change_one_member,
        remove_one_member,
        create_invitation,
        list_all_invitations,
        revoke_one_invitation,
        accept_invitation,
        sign_in,
        enrol_second_factor,
        show_second_factor,
        reset_password,
        sign_in_at_provider,
        return_from_provider,
        get_sign_in_provider,
        set_sign_in_provider,
        remove_sign_in_provider,
        get_session,
        sign_out,
        list_own_sessions,
        end_own_session,
        change_own_password,
        replace_second_factor,
        list_member_sessions,
        end_member_sessions,
        create_payment,
        list_payments,
        get_payment,
        get_paying,
        change_paying,
        list_methods,
        save_method,
        forget_method,
        open_portal,
        take_event,
        list_payees,
        create_payee,
        get_payee,
        change_one_payee,
        connect_payee,
        get_payee_statement,
        list_payee_accruals,
        list_payouts,
        get_payout,
        list_agreements,
        create_agreement,
        list_income,
        take_income,
        settle_statement,
        list_pools,
        create_pool,
        count_pool_views,
        list_earnings,
        get_earnings_statement,
        list_earnings_accruals,
        list_earnings_payouts,
    ],
)

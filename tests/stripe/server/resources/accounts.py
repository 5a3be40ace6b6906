"""Connected accounts: what they still owe of their identity, and what they may do once they gave it."""

from tests.stripe.server.errors import Json, malformed, unseen
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World

IDENTITY = ("business_profile.url", "individual.first_name", "individual.last_name", "tos_acceptance.date", "tos_acceptance.ip")
CAPABILITIES = ("alipay_payments", "card_payments", "legacy_payments", "transfers", "wechat_pay_payments")
LINK_LASTS_S = 300


def _requirements(due: list[str], reason: str | None) -> Json:
    return {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": due,
        "disabled_reason": reason,
        "errors": [],
        "eventually_due": due,
        "past_due": due if reason else [],
        "pending_verification": [],
    }


def _controller(p: Params, type: str | None) -> Json:
    inner = p.inner("controller")
    fees, losses = inner.inner("fees").text("payer"), inner.inner("losses").text("payments")
    collects = inner.choice("requirement_collection", ("application", "stripe"), "stripe")
    dashboard = inner.inner("stripe_dashboard").choice("type", ("express", "full", "none"))
    shown = dashboard or {"express": "express", "custom": "none"}.get(type or "", "full")
    return {
        "fees": {"payer": fees or ("account" if type == "standard" else "application_express")},
        "is_controller": True,
        "losses": {"payments": losses or ("stripe" if type == "standard" else "application")},
        "requirement_collection": collects,
        "stripe_dashboard": {"type": shown},
        "type": "application",
    }


@route("POST", "/v1/accounts")
def create(world: World, p: Params) -> Json:
    type = p.choice("type", ("custom", "express", "standard"))
    country, controller = p.text("country") or world.settings.country, _controller(p, type)
    said = p.given("business_type", "email") | {"metadata": p.metadata()}
    said |= {"default_currency": (p.text("default_currency") or world.settings.default_currency).lower()}
    capabilities = _requested(p)
    profile = p.inner("business_profile").given("mcc", "name", "product_description", "support_email", "url")
    p.end()
    id = world.new_id("acct")
    row: Json = {
        "id": id,
        "object": "account",
        "business_profile": {"mcc": None, "name": None, "product_description": None, "support_email": None, "url": None}
        | profile,
        "business_type": None,
        "capabilities": dict.fromkeys(capabilities, "inactive"),
        "charges_enabled": False,
        "controller": controller,
        "country": country,
        "created": world.now,
        "details_submitted": False,
        "email": None,
        "external_accounts": {"object": "list", "data": [], "has_more": False, "url": f"/v1/accounts/{id}/external_accounts"},
        "future_requirements": _requirements([], None),
        "payouts_enabled": False,
        "requirements": _requirements([*IDENTITY, "external_account"], "requirements.past_due"),
        "settings": {
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_payments": {"statement_descriptor_prefix": None},
            "dashboard": {"display_name": None, "timezone": "Etc/UTC"},
            "payments": {"statement_descriptor": None},
            "payouts": {
                "debit_negative_balances": True,
                "schedule": {"delay_days": 2, "interval": "manual"},
                "statement_descriptor": None,
            },
        },
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
        "type": type or "none",
    }
    return world.add(row | said)


def _requested(p: Params) -> list[str]:
    inner = p.inner("capabilities")
    return [name for name in CAPABILITIES if inner.inner(name).flag("requested")]


@route("GET", "/v1/accounts/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    if id not in world.state.tables.get("account", {}):
        raise unseen(id)
    return world.get("account", id)


@route("GET", "/v1/accounts")
def listing(world: World, p: Params) -> Json:
    return page(p, dated(p, world.rows("account")), "/v1/accounts")


@route("POST", "/v1/accounts/{id}")
def update(world: World, p: Params, id: str) -> Json:
    row = world.get("account", id)
    said = p.given("email") | {"metadata": p.metadata(row["metadata"])}
    capabilities = _requested(p)
    p.end()
    row |= said
    for name in capabilities:
        row["capabilities"].setdefault(name, "active" if row["details_submitted"] else "inactive")
    world.emit("account.updated", row)
    return row


@route("DELETE", "/v1/accounts/{id}")
def delete(world: World, p: Params, id: str) -> Json:
    p.end()
    world.get("account", id)
    return world.remove("account", id)


@route("POST", "/v1/accounts/{id}/external_accounts")
def add_bank_account(world: World, p: Params, id: str) -> Json:
    account = world.get("account", id)
    bank = p.inner("external_account")
    if bank.text("object") != "bank_account":
        raise malformed("Only bank accounts are known here.", param="external_account[object]")
    country, currency, number = bank.need("country"), bank.need("currency").lower(), bank.need("account_number")
    holder, routing = bank.text("account_holder_name"), bank.text("routing_number")
    p.end()
    return _add_bank(world, account, country, currency, number[-4:], holder, routing)


def _add_bank(
    world: World, account: Json, country: str, currency: str, last4: str, holder: str | None = None, routing: str | None = None
) -> Json:
    bank: Json = {
        "id": world.new_id("ba"),
        "object": "bank_account",
        "account": account["id"],
        "account_holder_name": holder,
        "account_holder_type": None,
        "account_type": None,
        "available_payout_methods": ["standard"],
        "bank_name": "TEST BANK",
        "country": country,
        "currency": currency,
        "default_for_currency": True,
        "fingerprint": world.new_id("fp")[3:],
        "last4": last4,
        "metadata": {},
        "routing_number": routing,
        "status": "new",
    }
    account["external_accounts"]["data"].append(bank)
    due = [name for name in account["requirements"]["currently_due"] if name != "external_account"]
    require(world, account, due)
    return bank


@route("POST", "/v1/account_links")
def create_link(world: World, p: Params) -> Json:
    account, back = p.need("account"), p.need("return_url")
    p.need("refresh_url")
    p.choice("type", ("account_onboarding", "account_update"))
    p.free("collection_options")
    p.end()
    world.get("account", account, "account")
    world.secret(account)["return_url"] = back
    return {
        "object": "account_link",
        "created": world.now,
        "expires_at": world.now + LINK_LASTS_S,
        "url": f"{world.base_url}/onboarding/{account}",
    }


def require(world: World, account: Json, due: list[str]) -> None:
    """What Stripe asks of the account from now on; as long as anything is due, it is neither paid nor paid out."""
    account["requirements"] = _requirements(due, "requirements.past_due" if due else None)
    account |= {
        "charges_enabled": not due,
        "payouts_enabled": not due,
        "details_submitted": not due or account["details_submitted"],
    }
    account["capabilities"] = dict.fromkeys(account["capabilities"], "inactive" if due else "active")
    world.emit("account.updated", account)


def provide(world: World, account: Json) -> str:
    """Gives everything that is due, as the onboarding page does; returns where the browser goes."""
    if not account["external_accounts"]["data"]:
        _add_bank(world, account, account["country"], account["default_currency"], "6789")
    account["tos_acceptance"] = {"date": world.now, "ip": "127.0.0.1", "user_agent": None}
    require(world, account, [])
    return world.secret(account["id"]).get("return_url") or f"{world.base_url}/done"

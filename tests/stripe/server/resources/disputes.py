"""Disputes: made by a test card or by the control plane, answered with evidence, won or lost."""

from tests.stripe.server import money
from tests.stripe.server.errors import Json, refused
from tests.stripe.server.form import Params, dated, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World, timer

EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)
OPEN = {"needs_response", "under_review", "warning_needs_response", "warning_under_review"}
VERDICTS = {"winning_evidence": "won", "losing_evidence": "lost"}
"""What stands in `uncategorized_text` decides, as in Stripe's test mode."""


def follow(world: World, charge: Json) -> None:
    """Disputes a captured charge at once where its card is made for that."""
    behaviour = world.secret(charge["payment_method"])
    if behaviour.get("disputed"):
        open_dispute(world, charge, behaviour["disputed"], inquiry=behaviour["inquiry"])


def open_dispute(world: World, charge: Json, reason: str, amount: int | None = None, *, inquiry: bool = False) -> Json:
    """Takes the disputed amount and a fee from the balance; an inquiry takes nothing yet."""
    id = world.new_id("du")
    amount = charge["amount"] - charge["amount_refunded"] if amount is None else amount
    card = charge["payment_method_details"].get("card", {"brand": "visa"})
    dispute = world.add(
        {
            "id": id,
            "object": "dispute",
            "amount": amount,
            "balance_transactions": [],
            "charge": charge["id"],
            "created": world.now,
            "currency": charge["currency"],
            "enhanced_eligibility_types": [],
            "evidence": dict.fromkeys(EVIDENCE) | {"enhanced_evidence": {}},
            "evidence_details": {
                "due_by": world.now + world.settings.dispute_due_s,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
                "submission_method": "not_submitted",
            },
            "is_charge_refundable": inquiry,
            "livemode": False,
            "metadata": {},
            "payment_intent": charge["payment_intent"],
            "payment_method_details": {
                "card": {
                    "brand": card["brand"],
                    "case_type": "inquiry" if inquiry else "chargeback",
                    "network": card["brand"],
                    "network_reason_code": "83",
                },
                "type": "card",
            },
            "reason": reason,
            "status": "warning_needs_response" if inquiry else "needs_response",
        }
    )
    charge["disputed"] = True
    world.secret(charge["id"])["refundable"] = inquiry
    world.after(world.settings.dispute_due_s, "dispute.due", id)
    if not inquiry:
        _move(world, dispute, -1)
    world.emit("charge.dispute.created", dispute)
    if not inquiry:
        world.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def _move(world: World, dispute: Json, sign: int) -> None:
    value, currency, rate = money.settled(world, dispute["amount"], dispute["currency"])
    fee = world.settings.dispute_fee.get(currency, 0) if sign < 0 else 0
    category = "dispute" if sign < 0 else "dispute_reversal"
    words = f"Chargeback {'withdrawal' if sign < 0 else 'reversal'} for {dispute['charge']}"
    moved = money.move(
        world, "adjustment", dispute["id"], sign * value, currency, category=category, fee=fee, rate=rate, description=words
    )
    dispute["balance_transactions"] = [*dispute["balance_transactions"], dict(moved)]


def close_dispute(world: World, dispute: Json, verdict: str) -> Json:
    """`verdict` is won or lost; a dispute that was won gives the amount back and keeps the fee."""
    if dispute["status"] not in OPEN:
        raise refused("This dispute is already closed.", code="dispute_not_open")
    inquiry = dispute["status"].startswith("warning")
    dispute |= {"status": "warning_closed" if inquiry else verdict, "is_charge_refundable": inquiry}
    if verdict == "won" and not inquiry:
        _move(world, dispute, 1)
        world.emit("charge.dispute.funds_reinstated", dispute)
    world.emit("charge.dispute.closed", dispute)
    return dispute


@timer("dispute.due")
def run_out(world: World, id: str) -> None:
    """Nobody answered in time."""
    dispute = world.get("dispute", id)
    if dispute["status"] in {"needs_response", "warning_needs_response"}:
        dispute["evidence_details"]["past_due"] = True
        close_dispute(world, dispute, "lost")


@route("POST", "/v1/disputes/{id}")
def update(world: World, p: Params, id: str) -> Json:
    dispute = world.get("dispute", id)
    evidence, submit = p.inner("evidence").given(*EVIDENCE), p.flag("submit")
    metadata = p.metadata(dispute["metadata"])
    p.end()
    if dispute["status"] not in OPEN:
        raise refused("This dispute is already closed.", code="dispute_not_open")
    details = dispute["evidence_details"]
    dispute |= {"evidence": dispute["evidence"] | evidence, "metadata": metadata}
    details["has_evidence"] = details["has_evidence"] or bool(evidence)
    if submit is not False:
        details["submission_count"] += 1
        details["submission_method"] = "manual"
        dispute["status"] = "warning_under_review" if dispute["status"].startswith("warning") else "under_review"
    world.emit("charge.dispute.updated", dispute)
    if submit is not False and (verdict := VERDICTS.get(dispute["evidence"]["uncategorized_text"] or "")):
        close_dispute(world, dispute, verdict)
    return dispute


@route("POST", "/v1/disputes/{id}/close")
def close(world: World, p: Params, id: str) -> Json:
    p.end()
    return close_dispute(world, world.get("dispute", id), "lost")


@route("GET", "/v1/disputes/{id}")
def retrieve(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("dispute", id)


@route("GET", "/v1/disputes")
def listing(world: World, p: Params) -> Json:
    rows = world.rows("dispute", charge=p.text("charge"), payment_intent=p.text("payment_intent"))
    return page(p, dated(p, rows), "/v1/disputes")

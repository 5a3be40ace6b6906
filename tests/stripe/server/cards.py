"""Stripe's test cards: by number for a page, by token for the API, and how each of them behaves."""

from typing import Literal

import msgspec

from tests.stripe.server.errors import Json


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`authenticates`: whether the holder must confirm a payment: never, unless the card was set up for off-session use, or always."""

    number: str
    token: str
    brand: str = "visa"
    country: str = "US"
    funding: str = "credit"
    declines: str = ""
    """The reason for which every charge is declined."""
    attaches: bool = True
    """A card that is always declined cannot be saved either."""
    authenticates: Literal["never", "unless_set_up", "always"] = "never"
    set_up: bool = False
    refund: Literal["at_once", "pending", "fails"] = "at_once"
    disputed: str = ""
    """The reason of the dispute that follows each charge."""
    inquiry: bool = False
    bypass_pending: bool = False

    def behaviour(self) -> Json:
        """What is kept beside a payment method made from this card."""
        return {
            "declines": self.declines,
            "attaches": self.attaches,
            "authenticates": self.authenticates,
            "set_up": self.set_up,
            "refund": self.refund,
            "disputed": self.disputed,
            "inquiry": self.inquiry,
            "bypass_pending": self.bypass_pending,
        }


def _declined(number: str, token: str, reason: str) -> Card:
    return Card(number=number, token=token, declines=reason, attaches=False)


CARDS = (
    Card(number="4242424242424242", token="visa"),
    Card(number="4000056655665556", token="visa_debit", funding="debit"),
    Card(number="5555555555554444", token="mastercard", brand="mastercard"),
    Card(number="378282246310005", token="amex", brand="amex"),
    Card(number="6200000000000005", token="unionpay", brand="unionpay", country="CN"),
    Card(number="4000001560000002", token="cn", country="CN"),
    Card(number="4000003440000004", token="hk", country="HK"),
    _declined("4000000000000002", "visa_chargeDeclined", "generic_decline"),
    _declined("4000000000009995", "visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    _declined("4000000000009987", "visa_chargeDeclinedLostCard", "lost_card"),
    _declined("4000000000009979", "visa_chargeDeclinedStolenCard", "stolen_card"),
    _declined("4000000000000069", "chargeDeclinedExpiredCard", "expired_card"),
    _declined("4000000000000127", "chargeDeclinedIncorrectCvc", "incorrect_cvc"),
    _declined("4000000000000119", "chargeDeclinedProcessingError", "processing_error"),
    _declined("4000000000006975", "visa_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded"),
    _declined("4100000000000019", "radarBlock", "fraudulent"),
    Card(number="4000000000000341", token="chargeCustomerFail", declines="generic_decline"),
    Card(number="4000000000003220", token="threeDSecure2Required", authenticates="always"),
    Card(number="4000002500003155", token="authenticationRequiredOnSetup", authenticates="unless_set_up"),
    Card(number="4000002760003184", token="authenticationRequired", authenticates="always"),
    Card(number="4000003800000446", token="authenticationRequiredSetupForOffSession", authenticates="unless_set_up", set_up=True),
    Card(
        number="4000008260003178",
        token="authenticationRequiredChargeDeclinedInsufficientFunds",
        authenticates="unless_set_up",
        declines="insufficient_funds",
    ),
    Card(number="4000000000007726", token="pendingRefund", refund="pending"),
    Card(number="4000000000005126", token="refundFail", refund="fails"),
    Card(number="4000000000000259", token="createDispute", disputed="fraudulent"),
    Card(number="4000000000002685", token="createDisputeProductNotReceived", disputed="product_not_received"),
    Card(number="4000000000001976", token="createDisputeInquiry", disputed="fraudulent", inquiry=True),
    Card(number="4000000000000077", token="bypassPending", bypass_pending=True),
)
BY_NUMBER = {card.number: card for card in CARDS}
BY_TOKEN = {f"pm_card_{card.token}": card for card in CARDS} | {f"tok_{card.token}": card for card in CARDS}

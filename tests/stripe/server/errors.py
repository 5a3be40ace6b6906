"""Errors as Stripe words them: status, type, code, parameter, and what else the body carries."""

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


class StripeError(Exception):
    """`executed` is false for errors found before anything ran: Stripe does not keep their answers for a retry of the same key."""

    def __init__(
        self, status: int, type: str, message: str, *, code: str = "", param: str = "", executed: bool = True, **more: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        self.headers: dict[str, str] = {}
        self.body: Json = {"message": message, "type": type}
        if code:
            self.body |= {"code": code, "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"}
        if param:
            self.body["param"] = param
        self.body |= more


def malformed(message: str, *, param: str = "", code: str = "") -> StripeError:
    """A parameter that cannot be read; nothing ran."""
    return StripeError(400, "invalid_request_error", message, code=code, param=param, executed=False)


def refused(message: str, *, param: str = "", code: str = "", **more: Any) -> StripeError:
    """A well-formed request that the state of things forbids."""
    return StripeError(400, "invalid_request_error", message, code=code, param=param, **more)


def absent(kind: str, id: str, param: str = "id") -> StripeError:
    words = kind.rpartition(".")[2].replace("_", " ")
    status = 404 if param in {"id", "intent"} else 400
    message = f"No such {words}: '{id}'"
    return StripeError(status, "invalid_request_error", message, code="resource_missing", param=param)


def unauthorized(message: str) -> StripeError:
    return StripeError(401, "invalid_request_error", message, executed=False)


MESSAGES = {
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "card_declined": "Your card was declined.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "insufficient_funds": "Your card has insufficient funds.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "card_velocity_exceeded": "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
}
OWN_CODES = {"authentication_required", "expired_card", "incorrect_cvc", "processing_error"}
"""Reasons that are error codes; every other reason is the `decline_code` of a `card_declined`."""


def decline(reason: str) -> Json:
    """The body of a card error."""
    code = reason if reason in OWN_CODES else "card_declined"
    body: Json = {
        "advice_code": "try_again_later" if reason in {"insufficient_funds", "processing_error"} else "do_not_try_again",
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        "message": MESSAGES.get(reason, MESSAGES["card_declined"]),
        "type": "card_error",
    }
    if reason not in {"expired_card", "incorrect_cvc", "processing_error"}:
        body["decline_code"] = reason
    if reason in {"incorrect_cvc", "expired_card"}:
        body["param"] = "cvc" if reason == "incorrect_cvc" else "exp_month"
    return body


def card_error(body: Json, **more: Any) -> StripeError:
    error = StripeError(402, "card_error", body["message"])
    error.body = body | more
    return error


def unseen(account: str) -> StripeError:
    """Stripe does not tell an account that is gone from one that is somebody else's."""
    message = f"The provided key does not have access to account '{account}' (or that account does not exist)."
    return StripeError(403, "invalid_request_error", message, code="account_invalid", executed=False)

"""The look of the pages: plain HTML that works without scripts."""

from html import escape
from typing import LiteralString

from tests.stripe.server.errors import Json

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 28rem; margin: 3rem auto; padding: 0 1rem }
h1 { font-size: 1.25rem } form { margin: 1.5rem 0 }
label { display: block; margin: .75rem 0 } input, select { display: block; width: 100%; padding: .5rem; box-sizing: border-box; font: inherit }
button { padding: .5rem 1rem; font: inherit } [role=alert] { border-left: 4px solid #c00; padding-left: .75rem }
table { width: 100%; border-collapse: collapse } td { padding: .25rem 0 } td + td { text-align: right }
footer { margin-top: 3rem; opacity: .7; font-size: .875rem }
"""
NAMES = {"card": "Card", "alipay": "Alipay", "wechat_pay": "WeChat Pay"}
CARD: LiteralString = """
<label>Card number <input name="card[number]" inputmode="numeric" autocomplete="cc-number" required></label>
<label>Expiry month <input name="card[exp_month]" inputmode="numeric" value="12"></label>
<label>Expiry year <input name="card[exp_year]" inputmode="numeric" value="2034"></label>
<label>Security code <input name="card[cvc]" inputmode="numeric" value="123"></label>
"""


def document(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><main><h1>{escape(title)}</h1>{body}</main>"
        f"<footer>Offline Stripe: no money moves. Test card 4242 4242 4242 4242.</footer></html>"
    )


def alert(message: str | None) -> str:
    return f'<p role="alert">{escape(message)}</p>' if message else ""


def money(amount: int, currency: str) -> str:
    return f"{amount / 100:,.2f} {currency.upper()}"


def table(rows: list[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><td>{escape(left)}<td>{escape(right)}" for left, right in rows) + "</table>"


def button(action: str, label: str, **fields: str) -> str:
    hidden = "".join(f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items())
    return f'<form method="post" action="{escape(action)}">{hidden}<button>{escape(label)}</button></form>'


def link(url: str | None, label: str) -> str:
    return f'<p><a href="{escape(url)}">{escape(label)}</a></p>' if url else ""


def paying(action: str, label: str, types: list[str], email: str | None = None) -> str:
    """One form per way to pay, the card's first."""
    forms: list[str] = []
    for type in types:
        fields = CARD if type == "card" else ""
        if email is not None:
            fields += f'<label>E-mail <input type="email" name="billing_details[email]" value="{escape(email)}"></label>'
        forms.append(
            f'<form method="post" action="{escape(action)}" id="{type}"><input type="hidden" name="type" value="{type}">{fields}'
            f"<button>{escape(label)} – {NAMES[type]}</button></form>"
        )
    return "".join(forms)


def card_words(method: Json) -> str:
    card = method["card"]
    return f"{card['brand']} •••• {card['last4']}, {card['exp_month']}/{card['exp_year']}"

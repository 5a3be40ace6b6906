"""What an invoice says, in English and Chinese; pure. Amounts and dates are formatted as each language's readers expect."""

from datetime import date
from decimal import Decimal
from typing import Any

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal

from billing.invoices.model import Invoice, Line
from billing.invoices.xml import days_of
from billing.plans.calendar import Period
from billing.plans.tax import Party

_LOCALES = {"en": "en_GB", "zh": "zh_CN"}
_WORDS = {
    "en": {
        "invoice": "Invoice", "credit_note": "Credit note", "number": "Number", "issued": "Issued", "due": "Due",
        "period": "Period", "corrects": "Corrects invoice", "seller": "From", "buyer": "To", "tax_id": "Tax id",
        "description": "Description", "quantity": "Quantity", "price": "Price", "amount": "Amount",
        "net": "Total before tax", "S": "VAT", "AE": "VAT, owed by the recipient (reverse charge)", "O": "Not subject to VAT",
        "inside": "Prices include VAT.", "total": "Total", "paid": "Paid from the balance", "to_pay": "To pay",
        "credited": "Credited", "reason": "Reason", "payment": "Payment", "seconds": "s", "image": "images", "per_s": "s",
        "per_image": "image", "page": "Page", "customer": "Customer",
    },
    "zh": {
        "invoice": "账单", "credit_note": "红字账单", "number": "编号", "issued": "开具日期", "due": "付款截止",
        "period": "账期", "corrects": "更正账单", "seller": "销售方", "buyer": "购买方", "tax_id": "税号",
        "description": "项目", "quantity": "数量", "price": "单价", "amount": "金额",
        "net": "不含税合计", "S": "增值税", "AE": "增值税(由购买方缴纳)", "O": "不征收增值税",
        "inside": "价格含增值税。", "total": "价税合计", "paid": "已从余额支付", "to_pay": "应付",
        "credited": "冲减", "reason": "原因", "payment": "付款方式", "seconds": "秒", "image": "张", "per_s": "秒",
        "per_image": "张", "page": "页", "customer": "客户",
    },
}  # fmt: skip
_LINES = {
    "en": {
        "usage": "{title}",
        "late": "{title}, used {period}",
        "minimum": "Minimum of {least} for the period, less {counted} used",
        "commitment": "Commitment of {least} for the term, less {counted} invoiced",
        "subscription": "{title}: {seconds} included, {period}",
        "pack": "{title}: {seconds}",
        "unused": "{title}: {seconds} of {included} not used, for {rest} of {whole}",
        "returned": "{title}: {seconds} of {included} returned",
        "rest": "{title}: {seconds} for {rest} of {whole}, {period}",
        "credit": "{title}",
    },
    "zh": {
        "usage": "{title}",
        "late": "{title}(使用于{period})",
        "minimum": "账期最低消费{least},已消费{counted}",
        "commitment": "合同期承诺消费{least},已开账单{counted}",
        "subscription": "{title}:含{seconds},{period}",
        "pack": "{title}:{seconds}",
        "unused": "{title}:{included}中未使用的{seconds}(剩余{rest},共{whole})",
        "returned": "{title}:退回{included}中的{seconds}",
        "rest": "{title}:{seconds}(剩余{rest},共{whole}),{period}",
        "credit": "{title}",
    },
}


def names_of(invoice: Invoice) -> list[str]:
    """What each line is called."""
    return [_name(line, invoice) for line in invoice.lines]


def page_of(invoice: Invoice) -> dict[str, Any]:
    """Everything the page shows, ready to be set."""
    say = _WORDS[invoice.language]
    facts = [
        (say["number"], invoice.number),
        (say["issued"], _day(invoice.issued_on, invoice.language)),
        *([(say["due"], _day(invoice.due_on, invoice.language))] if invoice.kind == "invoice" else []),
        *([(say["period"], _period(invoice.period, invoice))] if invoice.period else []),
        *([(say["corrects"], invoice.corrects)] if invoice.corrects else []),
        (say["customer"], str(invoice.customer_id)),
    ]
    parties = [
        {"role": say[role], "lines": _party(party, say["tax_id"])}
        for role, party in (("seller", invoice.seller), ("buyer", invoice.buyer))
    ]
    rows = [
        (name, _quantity(line, invoice.language), _price(line, invoice), _money(line.amount_minor, invoice))
        for name, line in zip(names_of(invoice), invoice.lines, strict=True)
    ]
    return {
        "language": invoice.language,
        "title": say[invoice.kind],
        "facts": facts,
        "parties": parties,
        "head": [say[word] for word in ("description", "quantity", "price", "amount")],
        "rows": rows,
        "sums": _sums(invoice),
        "notes": [
            *([say["inside"]] if invoice.treatment.inclusive else []),
            *([f"{say['reason']}: {invoice.reason}"] if invoice.reason else []),
            *([f"{say['payment']}: {invoice.payment}"] if invoice.payment else []),
        ],
        "page": say["page"],
    }


def _party(party: Party, tax_id: str) -> list[str]:
    lines = [party.legal_name, *party.address.splitlines(), party.country, f"{tax_id} {party.tax_id}" if party.tax_id else ""]
    return [line for line in lines if line]


def _sums(invoice: Invoice) -> list[tuple[str, str]]:
    say = _WORDS[invoice.language]
    rate = (
        f" {_decimal(Decimal(invoice.treatment.rate_bp) / 100, invoice.language)} %" if invoice.treatment.category == "S" else ""
    )
    sums = [
        (say["net"], _money(invoice.net_minor, invoice)),
        (say[invoice.treatment.category] + rate, _money(invoice.tax_minor, invoice)),
        (say["total"], _money(invoice.total_minor, invoice)),
    ]
    if invoice.paid_minor:
        sums.append((say["paid"], _money(-invoice.paid_minor, invoice)))
    return [*sums, (say["to_pay" if invoice.kind == "invoice" else "credited"], _money(invoice.due_minor, invoice))]


def _name(line: Line, invoice: Invoice) -> str:
    kind = "late" if line.kind == "usage" and line.period is not None else line.kind
    facts = line.facts
    values = {
        "title": line.title,
        "period": _period(line.period, invoice) if line.period else "",
        "seconds": _seconds(line.quantity, invoice.language),
        "included": _seconds(int(facts.get("included_ms", 0)), invoice.language),
        "rest": _time(int(facts.get("rest_s", 0)), invoice.language),
        "whole": _time(int(facts.get("whole_s", 0)), invoice.language),
        "least": _exact(int(facts.get("least_micro", 0)), invoice),
        "counted": _exact(int(facts.get("counted_micro", 0)), invoice),
    }
    return _LINES[invoice.language][kind].format_map(values)


def _quantity(line: Line, language: str) -> str:
    if line.unit == "ms":
        return _seconds(line.quantity, language)
    return f"{line.quantity} {_WORDS[language]['image']}" if line.unit == "image" else str(line.quantity)


def _price(line: Line, invoice: Invoice) -> str:
    if not line.price_micro:
        return ""
    say = _WORDS[invoice.language]
    return f"{_exact(line.price_micro, invoice)}/{say['per_s' if line.unit == 'ms' else 'per_image']}"


def _seconds(duration_ms: int, language: str) -> str:
    return f"{_decimal(Decimal(duration_ms) / 1000, language, '#,##0.000')} {_WORDS[language]['seconds']}"


def _time(seconds: int, language: str) -> str:
    """Days and hours of a period, to the minute."""
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}"
    return f"{days} d {text}" if language == "en" else f"{days}天{text}"


def _period(period: Period, invoice: Invoice) -> str:
    first, last = (_day(day, invoice.language) for day in days_of(period, invoice.time_zone))
    return first if first == last else f"{first} – {last}"


def _day(day: date, language: str) -> str:
    return format_date(day, "long", locale=_LOCALES[language])


def _money(minor: int, invoice: Invoice) -> str:
    return format_currency(Decimal(minor) / 100, invoice.currency, locale=_LOCALES[invoice.language])


def _exact(micro: int, invoice: Invoice) -> str:
    """With as many decimals as it has, two at least."""
    text = format_currency(
        Decimal(micro) / 1_000_000, invoice.currency, "¤#,##0.00####", locale=_LOCALES[invoice.language], currency_digits=False
    )
    return str(text)


def _decimal(value: Decimal, language: str, pattern: str | None = None) -> str:
    return format_decimal(value, pattern, locale=_LOCALES[language])

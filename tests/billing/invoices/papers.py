"""Invoices to print and compare."""

from datetime import UTC, date, datetime
from uuid import UUID

from billing.invoices.model import Draft, Invoice, Kind, add_up
from billing.plans.calendar import Period
from billing.plans.tax import Party, Treatment

SHANGHAI = Party("上海霓虹影像有限公司", "上海市徐汇区漕溪北路 1 号", "CN", "91310104MA1FR00000")
BERLIN = Party("Nordlicht Film GmbH", "Torstraße 1\n10119 Berlin", "DE", "DE123456789")
NOVEMBER = Period(datetime(2026, 10, 31, 16, tzinfo=UTC), datetime(2026, 11, 30, 16, tzinfo=UTC))
OCTOBER = Period(datetime(2026, 9, 30, 16, tzinfo=UTC), datetime(2026, 10, 31, 16, tzinfo=UTC))
USAGE = Draft(
    kind="usage",
    title="testcard · 1080p · standard",
    amount_micro=192_003_333,
    quantity=120_002,
    unit="ms",
    price_micro=1_600_000,
)
SIX_PERCENT = Treatment("S", 600)
DRAFTS = [
    USAGE,
    Draft(kind="usage", title="stills · 720p", amount_micro=7_500_000, quantity=75, unit="image", price_micro=100_000),
    Draft(
        kind="usage", title="testcard · 720p · flex", amount_micro=2_001_500, quantity=4_003, unit="ms", price_micro=500_000, period=OCTOBER
    ),
    Draft(
        kind="minimum", title="", amount_micro=98_495_167, facts={"least_micro": 300_000_000, "counted_micro": 201_504_833}
    ),
]  # fmt: skip


def invoice(
    treatment: Treatment = SIX_PERCENT,
    *,
    drafts: list[Draft] = DRAFTS,
    seller: Party = SHANGHAI,
    buyer: Party = BERLIN,
    language: str = "en",
    kind: Kind = "invoice",
    corrects: str = "",
) -> Invoice:
    sums = add_up(drafts, treatment)
    return Invoice(
        id=UUID(int=7), kind=kind, number="TLCN-2026-000007", seller_code="cn", seller=seller, customer_id=UUID(int=8),
        buyer=buyer, language=language, currency="CNY", time_zone="Asia/Shanghai", issued_on=date(2026, 12, 2),
        due_on=date(2027, 1, 1), period=NOVEMBER, treatment=treatment, lines=sums.lines, net_minor=sums.net_minor,
        tax_minor=sums.tax_minor, total_minor=sums.total_minor, paid_minor=0, rounding_micro=sums.rounding_micro,
        payment="Bank of Shanghai 0000 1111", corrects=corrects, reason="Lines credited" if corrects else "",
    )  # fmt: skip

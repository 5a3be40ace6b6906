"""An invoice on paper: English and Chinese, PDF/A-3 with the same invoice for machines inside."""

import re
import zlib
from xml.etree import ElementTree as ET

import pytest

from billing.errors import InvoiceUnprintable
from billing.invoices import pdf
from billing.invoices.model import Draft, Invoice, add_up
from billing.invoices.pdf import to_pdf
from billing.invoices.words import names_of, page_of
from billing.invoices.xml import to_xml
from billing.plans.tax import Party, Treatment
from tests.billing.invoices.papers import BERLIN, DRAFTS, OCTOBER, SHANGHAI, invoice

RAM = "{urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100}"


def texts(made: Invoice, tag: str) -> list[str]:
    return [found.text or "" for found in ET.fromstring(to_xml(made, names_of(made))).iter(RAM + tag)]  # noqa: S314 – our own document


def test_the_page_in_english() -> None:
    page = page_of(invoice())
    assert page["title"] == "Invoice"
    assert page["facts"][:4] == [
        ("Number", "TLCN-2026-000007"), ("Issued", "2 December 2026"), ("Due", "1 January 2027"),
        ("Period", "1 November 2026 – 30 November 2026"),
    ]  # fmt: skip
    assert page["rows"] == [
        ("testcard · 1080p · standard", "120.002 s", "CN¥1.60/s", "CN¥192.00"),
        ("stills · 720p", "75 images", "CN¥0.10/image", "CN¥7.50"),
        ("testcard · 720p · flex, used 1 October 2026 – 31 October 2026", "4.003 s", "CN¥0.50/s", "CN¥2.00"),
        ("Minimum of CN¥300.00 for the period, less CN¥201.504833 used", "1", "", "CN¥98.50"),
    ]
    assert page["sums"] == [
        ("Total before tax", "CN¥300.00"), ("VAT 6 %", "CN¥18.00"), ("Total", "CN¥318.00"), ("To pay", "CN¥318.00"),
    ]  # fmt: skip


def test_the_page_in_chinese() -> None:
    page = page_of(invoice(Treatment("S", 600, inclusive=True), language="zh"))
    assert page["title"] == "账单" and page["notes"][0] == "价格含增值税。"
    assert page["rows"][0] == ("testcard · 1080p · standard", "120.002 秒", "¥1.60/秒", "¥192.00")
    assert page["rows"][3][0] == "账期最低消费¥300.00,已消费¥201.504833"
    assert page["sums"][1:] == [("增值税 6 %", "¥16.98"), ("价税合计", "¥300.00"), ("应付", "¥300.00")]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "kind", ["usage", "minimum", "commitment", "subscription", "pack", "unused", "returned", "rest", "credit"]
)
def test_every_line_has_its_words(kind: str, language: str) -> None:
    draft = Draft(kind=kind, title="Studio", amount_micro=10_000, quantity=1_000, unit="ms", period=OCTOBER)  # pyright: ignore[reportArgumentType] every kind
    (name,) = names_of(invoice(drafts=[draft], language=language))
    assert name and "{" not in name


def test_machines_read_the_same_figures() -> None:
    made = invoice()
    assert texts(made, "LineTotalAmount") == ["192.00", "7.50", "2.00", "98.50", "300.00"]
    assert texts(made, "BilledQuantity") == ["120.002", "75", "4.003", "1"]
    assert texts(made, "GrandTotalAmount") == ["318.00"] and texts(made, "DuePayableAmount") == ["318.00"]
    assert texts(made, "TypeCode")[0] == "380" and texts(made, "RateApplicablePercent") == ["6.00"] * 5


def test_a_credit_note_names_its_invoice() -> None:
    made = invoice(kind="credit_note", corrects="TLCN-2026-000001")
    assert texts(made, "TypeCode")[0] == "381" and texts(made, "IssuerAssignedID") == ["TLCN-2026-000001"]


def test_reverse_charge_and_what_is_outside_of_tax() -> None:
    reverse = invoice(Treatment("AE"), seller=BERLIN, buyer=Party("ACME SARL", "", "FR", "FR12345678901"))
    assert reverse.tax_minor == 0 and texts(reverse, "ExemptionReasonCode") == ["VATEX-EU-AE"]
    outside = invoice(Treatment("O"), seller=SHANGHAI, buyer=BERLIN)
    assert texts(outside, "ExemptionReasonCode") == ["VATEX-EU-O"] and texts(outside, "RateApplicablePercent") == []
    assert "DE123456789" not in to_xml(outside, names_of(outside)).decode()


def attached(document: bytes) -> bytes:
    """What the PDF embeds: the one stream that inflates to XML of the invoice."""
    found = [
        stream
        for raw in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", document, re.DOTALL)
        if b"CrossIndustry" in (stream := inflated(raw))
    ]
    assert len(found) == 1
    return found[0]


def inflated(raw: bytes) -> bytes:
    try:
        return zlib.decompress(raw)
    except zlib.error:
        return raw


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_pdf_carries_the_xml(language: str) -> None:
    made = invoice(language=language, buyer=SHANGHAI)
    document = to_pdf(made)
    assert document.startswith(b"%PDF-1.7") and to_pdf(made) == document
    assert attached(document) == to_xml(made, names_of(made))
    assert b"/AFRelationship" in document or b"/AFRelationship" in b"".join(
        map(inflated, re.findall(rb"stream\r?\n(.*?)\r?\nendstream", document, re.DOTALL))
    )


def test_a_text_is_set_and_never_run() -> None:
    hostile = Party('#read("/etc/passwd") $x$ *b* \\ "q" <tag>', "#pagebreak()\n= heading", "DE", "]#let x")
    assert to_pdf(invoice(buyer=hostile)).startswith(b"%PDF")


def test_a_character_that_no_font_has_is_named() -> None:
    with pytest.raises(InvoiceUnprintable, match="TLCN-2026-000007"):
        to_pdf(invoice(buyer=Party("\U00013000 Ltd", "", "DE", "")))


def test_without_a_font_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "find_spec", lambda _: None)
    monkeypatch.setattr(pdf, "FONTS", ())
    with pytest.raises(InvoiceUnprintable, match="extra `pdf`, or Debian's fonts-wqy-microhei"):
        to_pdf(invoice())


def test_sums_of_no_lines() -> None:
    assert add_up([], Treatment("S", 600)).total_minor == 0
    assert add_up(DRAFTS, Treatment("S", 600)).rounding_micro == 0

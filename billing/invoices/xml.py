"""An invoice for machines: UN/CEFACT Cross Industry Invoice in the profile EN 16931; pure.

The order of elements is the schema's. Amounts are decimals written from integers.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

from billing.invoices.model import Invoice, Line
from billing.plans.calendar import Period
from billing.plans.tax import Party

FILE_NAME = "factur-x.xml"
"""Where Factur-X readers look for it in a PDF."""

_SPACES = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
}
_TYPES = {"invoice": "380", "credit_note": "381"}
_UNITS = {"ms": "SEC", "image": "C62", "one": "C62"}
_REASONS = {"AE": ("VATEX-EU-AE", "Reverse charge"), "O": ("VATEX-EU-O", "Not subject to VAT")}


def to_xml(invoice: Invoice, names: list[str]) -> bytes:
    """`names`: what each line is called, as on the page that people read."""
    for prefix, space in _SPACES.items():
        ET.register_namespace(prefix, space)
    root = ET.Element(_tag("rsm:CrossIndustryInvoice"))
    context = _add(root, "rsm:ExchangedDocumentContext")
    _add(_add(context, "ram:GuidelineSpecifiedDocumentContextParameter"), "ram:ID", "urn:cen.eu:en16931:2017")
    document = _add(root, "rsm:ExchangedDocument")
    _add(document, "ram:ID", invoice.number)
    _add(document, "ram:TypeCode", _TYPES[invoice.kind])
    _date(_add(document, "ram:IssueDateTime"), invoice.issued_on)
    if invoice.reason:
        _add(_add(document, "ram:IncludedNote"), "ram:Content", invoice.reason)
    trade = _add(root, "rsm:SupplyChainTradeTransaction")
    for nth, (line, name) in enumerate(zip(invoice.lines, names, strict=True), start=1):
        _line(_add(trade, "ram:IncludedSupplyChainTradeLineItem"), nth, line, name, invoice)
    agreement = _add(trade, "ram:ApplicableHeaderTradeAgreement")
    _party(_add(agreement, "ram:SellerTradeParty"), invoice.seller, invoice, "FC")
    _party(_add(agreement, "ram:BuyerTradeParty"), invoice.buyer, invoice, "")
    delivered = _add(_add(trade, "ram:ApplicableHeaderTradeDelivery"), "ram:ActualDeliverySupplyChainEvent")
    last = max(days_of(invoice.period, invoice.time_zone)) if invoice.period else invoice.issued_on
    _date(_add(delivered, "ram:OccurrenceDateTime"), last)
    _settlement(_add(trade, "ram:ApplicableHeaderTradeSettlement"), invoice)
    ET.indent(root)
    return ET.tostring(root, encoding="UTF-8", xml_declaration=True)


def _line(item: ET.Element, nth: int, line: Line, name: str, invoice: Invoice) -> None:
    _add(_add(item, "ram:AssociatedDocumentLineDocument"), "ram:LineID", str(nth))
    _add(_add(item, "ram:SpecifiedTradeProduct"), "ram:Name", name)
    # The price is stated for the whole quantity: price × quantity is then the line to the minor unit, also where rounded.
    quantity = abs(line.quantity) or 1
    signed = quantity if line.net_minor >= 0 else -quantity
    price = _add(_add(item, "ram:SpecifiedLineTradeAgreement"), "ram:NetPriceProductTradePrice")
    _add(price, "ram:ChargeAmount", _money(abs(line.net_minor)))
    _add(price, "ram:BasisQuantity", _quantity(quantity, line), unitCode=_UNITS[line.unit])
    delivery = _add(item, "ram:SpecifiedLineTradeDelivery")
    _add(delivery, "ram:BilledQuantity", _quantity(signed, line), unitCode=_UNITS[line.unit])
    settlement = _add(item, "ram:SpecifiedLineTradeSettlement")
    tax = _add(settlement, "ram:ApplicableTradeTax")
    _add(tax, "ram:TypeCode", "VAT")
    _category(tax, invoice)
    if line.period is not None:
        _period(_add(settlement, "ram:BillingSpecifiedPeriod"), line.period, invoice.time_zone)
    total = _add(settlement, "ram:SpecifiedTradeSettlementLineMonetarySummation")
    _add(total, "ram:LineTotalAmount", _money(line.net_minor))


def _party(element: ET.Element, party: Party, invoice: Invoice, registration: str) -> None:
    """A tax id that begins with its country is a VAT id; any other is a register number, and `registration` of the seller."""
    country = party.country or invoice.seller.country
    is_vat = party.tax_id.startswith(country)
    _add(element, "ram:Name", party.legal_name)
    if party.tax_id and not is_vat:
        _add(_add(element, "ram:SpecifiedLegalOrganization"), "ram:ID", party.tax_id)
    address = _add(element, "ram:PostalTradeAddress")
    if party.address:
        _add(address, "ram:LineOne", ", ".join(party.address.splitlines()))
    _add(address, "ram:CountryID", country)
    scheme = "VA" if is_vat else registration
    # BR-O-02: what is outside the scope of VAT names no VAT id.
    if party.tax_id and scheme and not (scheme == "VA" and invoice.treatment.category == "O"):
        _add(_add(element, "ram:SpecifiedTaxRegistration"), "ram:ID", party.tax_id, schemeID=scheme)


def _settlement(settlement: ET.Element, invoice: Invoice) -> None:
    _add(settlement, "ram:PaymentReference", invoice.number)
    _add(settlement, "ram:InvoiceCurrencyCode", invoice.currency)
    tax = _add(settlement, "ram:ApplicableTradeTax")
    _add(tax, "ram:CalculatedAmount", _money(invoice.tax_minor))
    _add(tax, "ram:TypeCode", "VAT")
    code, reason = _REASONS.get(invoice.treatment.category, ("", ""))
    if reason:
        _add(tax, "ram:ExemptionReason", reason)
    _add(tax, "ram:BasisAmount", _money(invoice.net_minor))
    _category(tax, invoice, code)
    if invoice.period is not None:
        _period(_add(settlement, "ram:BillingSpecifiedPeriod"), invoice.period, invoice.time_zone)
    terms = _add(settlement, "ram:SpecifiedTradePaymentTerms")
    _date(_add(terms, "ram:DueDateDateTime"), invoice.due_on)
    sums = _add(settlement, "ram:SpecifiedTradeSettlementHeaderMonetarySummation")
    _add(sums, "ram:LineTotalAmount", _money(invoice.net_minor))
    _add(sums, "ram:TaxBasisTotalAmount", _money(invoice.net_minor))
    _add(sums, "ram:TaxTotalAmount", _money(invoice.tax_minor), currencyID=invoice.currency)
    _add(sums, "ram:GrandTotalAmount", _money(invoice.total_minor))
    _add(sums, "ram:TotalPrepaidAmount", _money(invoice.paid_minor))
    _add(sums, "ram:DuePayableAmount", _money(invoice.due_minor))
    if invoice.corrects:
        _add(_add(settlement, "ram:InvoiceReferencedDocument"), "ram:IssuerAssignedID", invoice.corrects)


def _category(tax: ET.Element, invoice: Invoice, reason_code: str = "") -> None:
    _add(tax, "ram:CategoryCode", invoice.treatment.category)
    if reason_code:
        _add(tax, "ram:ExemptionReasonCode", reason_code)
    if invoice.treatment.category != "O":
        _add(tax, "ram:RateApplicablePercent", _money(invoice.treatment.rate_bp))


def _period(element: ET.Element, period: Period, time_zone: str) -> None:
    for name, day in zip(("ram:StartDateTime", "ram:EndDateTime"), days_of(period, time_zone), strict=True):
        _date(_add(element, name), day)


def days_of(period: Period, time_zone: str) -> Iterator[date]:
    """First and last day."""
    zone = ZoneInfo(time_zone)
    yield period.starts_at.astimezone(zone).date()
    yield (period.ends_at - timedelta(microseconds=1)).astimezone(zone).date()


def _date(element: ET.Element, day: date) -> None:
    _add(element, "udt:DateTimeString", datetime(day.year, day.month, day.day, tzinfo=UTC).strftime("%Y%m%d"), format="102")


def _money(minor: int) -> str:
    units, cents = divmod(abs(minor), 100)
    return f"{'-' if minor < 0 else ''}{units}.{cents:02d}"


def _quantity(quantity: int, line: Line) -> str:
    if line.unit != "ms":
        return str(quantity)
    seconds, rest_ms = divmod(abs(quantity), 1000)
    return f"{'-' if quantity < 0 else ''}{seconds}.{rest_ms:03d}"


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, _tag(tag), attributes)
    if text:
        child.text = text
    return child


def _tag(tag: str) -> str:
    prefix, name = tag.split(":")
    return f"{{{_SPACES[prefix]}}}{name}"

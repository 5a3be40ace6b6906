"""An invoice for people: a PDF/A-3 that carries the same invoice for machines. Needs the extra `pdf`."""

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import msgspec

from billing.errors import InvoiceUnprintable
from billing.invoices.model import Invoice
from billing.invoices.words import names_of, page_of
from billing.invoices.xml import FILE_NAME, to_xml

TEMPLATE = Path(__file__).with_name("invoice.typ")
FONTS = (
    ("Noto Sans CJK SC", Path("/usr/share/fonts/opentype/noto")),
    ("WenQuanYi Micro Hei", Path("/usr/share/fonts/truetype/wqy")),
)
"""What Debian's fonts-noto-cjk and fonts-wqy-microhei install; used where the wheel of the extra is absent."""


def to_pdf(invoice: Invoice) -> bytes:
    """The same bytes for the same invoice. Raises InvoiceUnprintable: the extra or a font is missing, or lacks a character."""
    try:
        import typst  # noqa: PLC0415 – the extra may be absent
    except ImportError as error:
        raise InvoiceUnprintable("install Tallylight with the extra `pdf`") from error
    family, folder = find_font()
    files = {
        "main.typ": TEMPLATE.read_bytes(),
        "page.json": msgspec.json.encode(page_of(invoice)),
        FILE_NAME: to_xml(invoice, names_of(invoice)),
    }
    day = invoice.issued_on
    try:
        return typst.compile(
            files,  # pyright: ignore[reportArgumentType] – documented, and not in the stub
            font_paths=[folder],
            ignore_system_fonts=True,
            sys_inputs={"font": family},
            pdf_standards=["a-3b"],
            timestamp=datetime(day.year, day.month, day.day, tzinfo=UTC),
        )
    except typst.TypstError as error:
        raise InvoiceUnprintable(f"{invoice.number}: {error.message}") from error


def find_font() -> tuple[str, Path]:
    """A family with Latin and Chinese characters, and its folder. Raises InvoiceUnprintable."""
    wheel = find_spec("manimgx_fonts_cjk")
    if wheel is not None and wheel.origin is not None:
        return "Noto Sans CJK SC", Path(wheel.origin).parent
    for family, folder in FONTS:
        if folder.is_dir():
            return family, folder
    raise InvoiceUnprintable("there is no font with Chinese characters: install the extra `pdf`, or Debian's fonts-wqy-microhei")

"""Customers; pure."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from billing.errors import BillingDetailsInvalid

Language = Literal["en", "zh"]

TIME_ZONE_DEFAULT = "Asia/Shanghai"


class Customer(msgspec.Struct, frozen=True):
    """`time_zone` decides which day, month and hour a moment falls in; it and `currency` never change."""

    id: UUID
    currency: str
    time_zone: str
    legal_name: str
    address: str
    country: str
    tax_id: str
    language: Language
    created_at: datetime


class BillingDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoice says of a customer. `country` is ISO 3166-1 alpha-2, or empty."""

    legal_name: Annotated[str, Meta(max_length=200)] = ""
    address: Annotated[str, Meta(max_length=1000)] = ""
    country: Annotated[str, Meta(pattern="^([A-Z]{2})?$")] = ""
    tax_id: Annotated[str, Meta(max_length=50)] = ""
    language: Language = "en"

    def checked(self) -> "BillingDetails":
        """Raises BillingDetailsInvalid naming the entry."""
        try:
            return msgspec.convert(msgspec.to_builtins(self), BillingDetails)
        except msgspec.ValidationError as error:
            raise BillingDetailsInvalid(str(error)) from error

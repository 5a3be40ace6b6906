"""Every statement of customers."""

import msgspec

from billing.customers.model import Customer
from billing.kit.query import Command, Query


class Known(msgspec.Struct, frozen=True):
    known: bool


_COLUMNS = "id, currency, time_zone, legal_name, address, country, tax_id, language, created_at"

ADD_CUSTOMER = Command("""
    INSERT INTO billing.customer (id, currency, time_zone, legal_name, address, country, tax_id, language)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING
""")
CUSTOMERS = Query(Customer, "SELECT " + _COLUMNS + " FROM billing.customer WHERE id = ANY($1::uuid[])")
UPDATE_DETAILS = Query(
    Customer,
    """
    UPDATE billing.customer SET legal_name = $2, address = $3, country = $4, tax_id = $5, language = $6
    WHERE id = $1 RETURNING """
    + _COLUMNS,
)
IS_TIME_ZONE = Query(Known, "SELECT billing.is_time_zone($1) AS known")

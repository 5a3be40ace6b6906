"""Products and one-time prices; sessions and invoice items may also describe theirs inline."""

from decimal import Decimal, InvalidOperation

from tests.stripe.server import money
from tests.stripe.server.errors import Json, malformed
from tests.stripe.server.form import Params, page
from tests.stripe.server.routes import route
from tests.stripe.server.world import World


def decimal(p: Params, key: str) -> Decimal | None:
    text = p.text(key)
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        raise malformed(f"Invalid decimal: {text}", param=p.name(key), code="parameter_invalid_integer") from None


def new_product(world: World, name: str, metadata: Json, *, id: str | None = None, description: str | None = None) -> Json:
    row = world.add(
        {
            "id": id or world.new_id("prod"),
            "object": "product",
            "active": True,
            "created": world.now,
            "default_price": None,
            "description": description,
            "images": [],
            "livemode": False,
            "marketing_features": [],
            "metadata": metadata,
            "name": name,
            "package_dimensions": None,
            "shippable": None,
            "statement_descriptor": None,
            "tax_code": None,
            "type": "service",
            "unit_label": None,
            "updated": world.now,
            "url": None,
        }
    )
    world.emit("product.created", row)
    return row


def new_price(
    world: World, product: str, currency: str, unit: Decimal, *, active: bool = True, metadata: Json | None = None
) -> Json:
    row = world.add(
        {
            "id": world.new_id("price"),
            "object": "price",
            "active": active,
            "billing_scheme": "per_unit",
            "created": world.now,
            "currency": currency,
            "custom_unit_amount": None,
            "livemode": False,
            "lookup_key": None,
            "metadata": metadata or {},
            "nickname": None,
            "product": product,
            "recurring": None,
            "tax_behavior": "unspecified",
            "tiers_mode": None,
            "transform_quantity": None,
            "type": "one_time",
            "unit_amount": int(unit) if unit == int(unit) else None,
            "unit_amount_decimal": f"{unit:f}",
        }
    )
    if active:
        world.emit("price.created", row)
    return row


class Priced:
    """`price` or `price_data` of a line, read and then made."""

    def __init__(self, p: Params) -> None:
        self.price = p.text("price")
        data = p.inner("price_data")
        self.inline = p.has("price_data")
        self.currency = data.need("currency").lower() if self.inline else ""
        unit, exact = data.integer("unit_amount"), decimal(data, "unit_amount_decimal")
        self.unit = exact if exact is not None else Decimal(unit or 0)
        self.product = data.text("product")
        product = data.inner("product_data")
        self.name, self.description = product.text("name"), product.text("description")
        self.product_metadata = product.metadata()
        data.choice("tax_behavior", ("exclusive", "inclusive", "unspecified"))
        if self.inline == (self.price is not None):
            raise malformed("You must specify either `price` or `price_data`.", param=p.name("price"), code="parameter_missing")
        if self.inline and unit is None and exact is None:
            raise malformed(f"Missing required param: {data.name('unit_amount')}.", param=data.name("unit_amount"))
        if self.inline and self.product is None and self.name is None:
            raise malformed(f"Missing required param: {data.name('product_data')}.", param=data.name("product_data"))

    def make(self, world: World) -> Json:
        """The price; an inline one is made for this use only."""
        if self.price:
            return world.get("price", self.price, "price")
        product = self.product or new_product(world, self.name or "", self.product_metadata, description=self.description)["id"]
        world.get("product", product, "product")
        return new_price(world, product, self.currency, self.unit, active=False)


def amount_of(price: Json, quantity: int) -> int:
    return money.half_up(Decimal(price["unit_amount_decimal"]) * quantity)


@route("POST", "/v1/products")
def create_product(world: World, p: Params) -> Json:
    name, id, description, metadata = p.need("name"), p.text("id"), p.text("description"), p.metadata()
    p.end()
    return new_product(world, name, metadata, id=id, description=description)


@route("GET", "/v1/products/{id}")
def retrieve_product(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("product", id)


@route("GET", "/v1/products")
def list_products(world: World, p: Params) -> Json:
    return page(p, world.rows("product", active=p.flag("active")), "/v1/products")


@route("POST", "/v1/prices")
def create_price(world: World, p: Params) -> Json:
    product, currency, unit, exact = (
        p.need("product"),
        p.need("currency").lower(),
        p.integer("unit_amount"),
        decimal(p, "unit_amount_decimal"),
    )
    metadata = p.metadata()
    p.end()
    world.get("product", product, "product")
    return new_price(world, product, currency, exact if exact is not None else Decimal(unit or 0), metadata=metadata)


@route("GET", "/v1/prices/{id}")
def retrieve_price(world: World, p: Params, id: str) -> Json:
    p.end()
    return world.get("price", id)


@route("GET", "/v1/prices")
def list_prices(world: World, p: Params) -> Json:
    return page(p, world.rows("price", product=p.text("product"), active=p.flag("active")), "/v1/prices")

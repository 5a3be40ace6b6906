"""What can be asked for and what it costs: GET /v1/models and GET /v1/prices."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from litestar import Response, get
from msgspec import Meta

from billing.kit.pool import tenant
from billing.pricing.explain import decimal
from billing.pricing.model import Book, Day
from gateway.access.model import Caller
from gateway.edge.caller import HttpRequest, authenticate, gateway_of, header
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.replies import json_reply
from gateway.errors import NotFound
from gateway.media.ranges import is_not_modified
from gateway.video import ModelLimits, Role


class Limits(msgspec.Struct, frozen=True):
    """What a request for this model may say. Edges and areas are in pixels."""

    edge_min: int
    edge_max: int
    edge_step: int
    pixels_max: int
    fps: tuple[int, ...]
    fps_default: int
    size_default: str
    seconds_min: float
    seconds_max: float
    seconds_default: float
    auto_length: bool
    audio: bool
    roles: tuple[Role, ...]
    steps_default: int
    steps_max: int
    guidance_default: float


class FpsPrice(msgspec.Struct, frozen=True):
    """Frame rates above those of the class before, up to and including `up_to`; null: all that are left."""

    name: str
    up_to: int | None
    factor: str


class HoursPrice(msgspec.Struct, frozen=True):
    """A band of the day on the organization's clock: `start` is in it, `end` is not; what counts is when the job is admitted."""

    name: str
    days: tuple[Day, ...]
    start: str
    end: str
    factor: str


class StepPrice(msgspec.Struct, frozen=True):
    """Graduated: only what exceeds `above` in a calendar month, in ms or images, costs this factor of the price."""

    above: int
    factor: str


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """`price_micro` × the factor of every dimension, multiplied exactly and rounded down once, to a micro-unit.

    Factors are decimals. A dimension without entries does not change the price; `audio` is null where none is sold.
    """

    version: Annotated[str, Meta(description="The rate card this price stands in; a job keeps it as price_version.")]
    own: Annotated[bool, Meta(description="Whether it was agreed with this organization and differs from the list.")]
    currency: str
    unit: Annotated[Literal["second", "image"], Meta(description="What price_micro is for.")]
    price_micro: Annotated[int, Meta(description="Micro-units, 10⁻⁶ of the currency.")]
    resolution: dict[str, str]
    tier: dict[str, str]
    audio: str | None
    task: dict[str, str]
    fps: tuple[FpsPrice, ...]
    accelerator: dict[str, str]
    hours: tuple[HoursPrice, ...]
    volume: tuple[StepPrice, ...]
    min_ms: Annotated[int, Meta(description="Less than this is charged as this much.")]
    seconds_class: Annotated[dict[str, str], Meta(description="By resolution: which prepaid seconds may pay for it.")]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model. `price` is in the currency of the key's organization, null where none is published."""

    id: str
    object: Literal["model"] = "model"
    created: Annotated[int, Meta(description="Always 0: models are named by what they are, not by when they came.")] = 0
    owned_by: Literal["tallylight"] = "tallylight"
    title: str
    limits: Limits
    price: Price | None


class ModelList(msgspec.Struct, frozen=True):
    data: tuple[Model, ...]
    object: Literal["list"] = "list"


class PriceList(msgspec.Struct, frozen=True, kw_only=True):
    """The prices in force. They never change under their `price_version`; other prices have another one."""

    object: Literal["price_list"] = "price_list"
    price_version: str
    currency: str
    models: dict[str, Price]


_encode = msgspec.json.Encoder().encode
_MODELS = Described(tag="Models", answers={200: Answer("Every model.", ModelList)})
_MODEL = Described(
    tag="Models",
    answers={200: Answer("The model.", Model)},
    parameters=(Parameter("model_id", "The name of a model.", str, "path"),),
    errors=(NotFound,),
)
_NOT_MODIFIED = Answer("The list has the tag in If-None-Match.", empty=True)
_IF_NONE_MATCH = Parameter("If-None-Match", "Answer 304 if the list has this tag.", str, "header")
_PRICES = Described(
    tag="Prices",
    answers={
        200: Answer("The price list.", PriceList, headers={"ETag": "The price version.", "Cache-Control": "private, max-age=60"}),
        304: _NOT_MODIFIED,
    },
    parameters=(_IF_NONE_MATCH,),
    errors=(NotFound,),
)
_PUBLIC_PRICES = Described(
    tag="Prices",
    answers={
        200: Answer("The price list.", PriceList, headers={"ETag": "The price version.", "Cache-Control": "public, max-age=60"}),
        304: _NOT_MODIFIED,
    },
    parameters=(Parameter("currency", "CNY or USD.", str, "path"), _IF_NONE_MATCH),
    errors=(NotFound,),
    public=True,
)


@get("/v1/models", operation_id="list_models", opt={"described": _MODELS})
async def list_models(request: HttpRequest) -> Response[bytes]:
    """List the models with their limits and prices, in the shape that OpenAI's SDKs read."""
    caller = await authenticate(request)
    book, every = await _book(request, caller), gateway_of(request).models.values()
    return json_reply(_encode(ModelList(tuple(_model(limits, book) for limits in every if caller.may_use(limits.name)))))


@get("/v1/models/{model_id:str}", operation_id="get_model", opt={"described": _MODEL})
async def get_model(request: HttpRequest, model_id: str) -> Response[bytes]:
    """One model with its limits and prices."""
    caller = await authenticate(request)
    limits = gateway_of(request).models.get(model_id)
    if limits is None or not caller.may_use(model_id):
        raise NotFound
    return json_reply(_encode(_model(limits, await _book(request, caller))))


@get("/v1/prices", operation_id="list_prices", opt={"described": _PRICES})
async def list_prices(request: HttpRequest) -> Response[bytes]:
    """The prices in force for this key, those agreed with its organization among them."""
    book = await _book(request, await authenticate(request))
    return _listed(request, book, {"cache-control": "private, max-age=60", "vary": "authorization"})


@get("/v1/prices/{currency:str}", operation_id="list_public_prices", opt={"described": _PUBLIC_PRICES})
async def list_public_prices(request: HttpRequest, currency: str) -> Response[bytes]:
    """The prices in force for everyone in a currency; no key is needed. Hours are then those of each organization's own clock."""
    gateway = gateway_of(request)
    async with gateway.pool.acquire(timeout=5) as conn:
        book = await gateway.prices.listed(conn, currency)
    return _listed(request, book, {"cache-control": "public, max-age=60"})


def _listed(request: HttpRequest, book: Book | None, caching: dict[str, str]) -> Response[bytes]:
    if book is None or not book.models():
        raise NotFound("no prices are published in this currency")
    version = ".".join(str(published.id) for published in (book.listed, book.own) if published is not None)
    headers = {"etag": f'"{version}"'} | caching
    if is_not_modified(header(request, b"if-none-match"), headers["etag"]):
        return Response(b"", status_code=304, headers=headers)
    models = {name: price for name in book.models() if (price := _price(book, name))}
    return json_reply(_encode(PriceList(price_version=version, currency=book.currency, models=models)), headers=headers)


async def _book(request: HttpRequest, caller: Caller) -> Book | None:
    gateway = gateway_of(request)
    async with tenant(gateway.pool, caller.org_id) as conn:
        return (await gateway.prices.in_force(conn, [caller.org_id])).get(caller.org_id)


def _model(limits: ModelLimits, book: Book | None) -> Model:
    price = _price(book, limits.name) if book else None
    return Model(id=limits.name, title=limits.title, limits=msgspec.convert(limits, Limits, from_attributes=True), price=price)


def _price(book: Book, model: str) -> Price | None:
    published = book.card_for(model)
    if published is None:
        return None
    rates = published.card.models[model]
    return Price(
        version=str(published.id),
        own=published is book.own,
        currency=book.currency,
        unit="second" if rates.unit == "ms" else "image",
        price_micro=rates.price_micro,
        resolution=_decimals(rates.resolution),
        tier=_decimals(rates.tier),
        audio=None if rates.audio is None else decimal(rates.audio),
        task=_decimals(rates.task),
        fps=tuple(FpsPrice(fps.name, fps.up_to, decimal(fps.factor)) for fps in rates.fps),
        accelerator=_decimals(rates.accelerator),
        hours=tuple(HoursPrice(band.name, band.days, band.start, band.end, decimal(band.factor)) for band in rates.hours),
        volume=tuple(StepPrice(step.above, decimal(step.factor)) for step in rates.volume),
        min_ms=rates.min_ms,
        seconds_class=rates.seconds_class,
    )


def _decimals(factors: Mapping[str, int]) -> dict[str, str]:
    return {name: decimal(factor) for name, factor in factors.items()}

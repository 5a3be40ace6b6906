"""What can be asked for and what it costs: GET /v1/models and GET /v1/prices."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from litestar import Response, get
from msgspec import Meta

from billing.pricing.model import FACTOR_ONE, ModelRates, Published
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


class Price(msgspec.Struct, frozen=True):
    """`per_second_micro` × resolution × tier, × audio where there is any; factors are decimals, rounded down to a micro-unit."""

    currency: str
    per_second_micro: Annotated[int, Meta(description="Micro-units (10⁻⁶ of the currency) per generated second.")]
    resolution: dict[str, float]
    tier: dict[str, float]
    audio: float


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
    """The rate card in force. It never changes; another one has another `price_version`."""

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
_PRICES = Described(
    tag="Prices",
    answers={
        200: Answer("The price list.", PriceList, headers={"ETag": "The price version.", "Cache-Control": "private, max-age=60"}),
        304: Answer("The list has the tag in If-None-Match.", empty=True),
    },
    parameters=(Parameter("If-None-Match", "Answer 304 if the list has this tag.", str, "header"),),
    errors=(NotFound,),
)


@get("/v1/models", operation_id="list_models", opt={"described": _MODELS})
async def list_models(request: HttpRequest) -> Response[bytes]:
    """List the models with their limits and prices, in the shape that OpenAI's SDKs read."""
    caller = await authenticate(request)
    card = await _card(request, caller)
    return json_reply(_encode(ModelList(tuple(_model(limits, card) for limits in gateway_of(request).models.values()))))


@get("/v1/models/{model_id:str}", operation_id="get_model", opt={"described": _MODEL})
async def get_model(request: HttpRequest, model_id: str) -> Response[bytes]:
    """One model with its limits and prices."""
    caller = await authenticate(request)
    limits = gateway_of(request).models.get(model_id)
    if limits is None:
        raise NotFound
    return json_reply(_encode(_model(limits, await _card(request, caller))))


@get("/v1/prices", operation_id="list_prices", opt={"described": _PRICES})
async def list_prices(request: HttpRequest) -> Response[bytes]:
    """The prices in force for this key, cacheable."""
    card = await _card(request, await authenticate(request))
    if card is None:
        raise NotFound("no prices are published in this organization's currency")
    headers = {"etag": f'"{card.id}"', "cache-control": "private, max-age=60"}
    if is_not_modified(header(request, b"if-none-match"), headers["etag"]):
        return Response(b"", status_code=304, headers=headers)
    models = {name: _price(card, rates) for name, rates in card.card.models.items()}
    return json_reply(_encode(PriceList(price_version=str(card.id), currency=card.card.currency, models=models)), headers=headers)


async def _card(request: HttpRequest, caller: Caller) -> Published | None:
    gateway = gateway_of(request)
    async with gateway.pool.acquire(timeout=5) as conn:
        return (await gateway.prices.in_force(conn)).get(caller.currency)


def _model(limits: ModelLimits, card: Published | None) -> Model:
    rates = card.card.models.get(limits.name) if card else None
    price = _price(card, rates) if card and rates else None
    return Model(id=limits.name, title=limits.title, limits=msgspec.convert(limits, Limits, from_attributes=True), price=price)


def _price(card: Published, rates: ModelRates) -> Price:
    def decimal(factors: Mapping[str, int]) -> dict[str, float]:
        return {name: factor / FACTOR_ONE for name, factor in factors.items()}

    currency, audio = card.card.currency, rates.audio / FACTOR_ONE
    return Price(currency, rates.per_second_micro, decimal(rates.resolution), decimal(rates.tier), audio)

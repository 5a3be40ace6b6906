"""What a route says about itself in the OpenAPI document, written next to the route.

Bodies are decoded by hand under limits, so no framework can see their types. A handler therefore carries
`opt={"described": Described(…)}`, and its router `opt={"errors": ErrorShape(…)}`; gateway/api/openapi.py puts them together
with the path, the methods and the docstring.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from gateway.access.scopes import Scope
from gateway.edge.replies import Renderer
from gateway.errors import (
    CrossSiteRefused,
    Forbidden,
    GatewayError,
    InternalError,
    KeyRestricted,
    MethodNotAllowed,
    NotSignedIn,
    RateLimited,
    SecondFactorRequired,
    SignInOff,
    Unauthenticated,
    Unavailable,
)


class Answer(msgspec.Struct, frozen=True):
    """A successful answer: `of` is the type of its JSON, or None for a body of another media type, or none at all.

    `files` are media types in which the same comes as a file.
    """

    about: str
    of: Any = None
    media: str | tuple[str, ...] = "application/json"
    files: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    empty: bool = False


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter, a header or a path parameter of type `of`; what stands in the path is always `required`."""

    name: str
    about: str
    of: Any = str
    where: Literal["query", "header", "path"] = "query"
    required: bool = False


def between(least: int, most: int) -> Any:  # noqa: ANN401 – a type made of values
    """The type of a whole number with its bounds, both included."""
    return Annotated[int, Meta(ge=least, le=most)]


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """`body` is the type of the JSON body; `files` names the file parts where the route also reads multipart/form-data.

    `errors` are those of this route; the ones any route may give are added. `public` routes need no key; those with a
    `scope` are for managers who have it (gateway/edge/manager.py), with `callers` also for inference keys; `operator` ones are
    for whoever runs the gateway. All others are for inference keys.
    """

    answers: Mapping[int, Answer]
    tag: str
    body: Any = None
    files: Mapping[str, str] | None = None
    examples: Mapping[str, Any] = {}
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[type[GatewayError], ...] = ()
    public: bool = False
    scope: Scope | None = None
    callers: bool = False
    session: bool = False
    operator: bool = False

    def __deepcopy__(self, _memo: object) -> Self:
        """The framework copies `opt` deeply, which types with constraints cannot bear; nothing in here ever changes."""
        return self

    def every_error(self, *, reads: bool) -> tuple[type[GatewayError], ...]:
        """`reads`: the method is GET or HEAD."""
        limited = reads and not (self.public or self.session or self.operator) and (self.callers or not self.scope)
        return (*self.errors, *self._by_who(), *((RateLimited,) if limited else ()), MethodNotAllowed, InternalError, Unavailable)

    def _by_who(self) -> tuple[type[GatewayError], ...]:
        by_session = (NotSignedIn, SecondFactorRequired, CrossSiteRefused)
        match self:
            case Described(public=True):
                return ()
            case Described(operator=True):
                return (Unauthenticated,)
            case Described(session=True):
                return (*by_session, SignInOff)
            case _:
                return (Unauthenticated, Forbidden, KeyRestricted, *(by_session if self.scope else ()))


class ErrorShape(msgspec.Struct, frozen=True):
    """How a dialect answers errors: the type of the document, and what renders it."""

    document: Any
    render: Renderer


IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "Makes repeating safe: the same key with the same request gets the first answer again, byte for byte, for 48 hours.",
    str,
    "header",
)

"""The way past the router, for the few routes that carry nearly all requests.

Such a route says `opt={"hot": True}`. Its handler is the one the router would call, with the same request and the same
errors; what is saved is what a framework does for handlers that ask for more (docs/decisions/0030).
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias, cast

from litestar import Litestar, Request, Response
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.edge.caller import HttpRequest
from gateway.edge.replies import Reply

Handler: TypeAlias = Callable[..., Awaitable[Reply]]
Failure: TypeAlias = Callable[[HttpRequest, Exception], Response[bytes]]


def shortcut(app: Litestar, answer_failure: Failure) -> ASGIApp:
    """`app`, with its hot routes answered directly. Anything else goes to the router: another spelling of the path too."""
    hot = {(method, *template.partition("{")[:2]): (template, handler) for method, template, handler in _hot_routes(app)}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        path = scope["path"]
        last = path.rpartition("/")[2]
        named = last[:4] == "job_"
        found = hot.get((scope["method"], path.removesuffix(last), "{") if named else (scope["method"], path, ""))
        if found is None:
            await app(scope, receive, send)
            return
        scope["path_template"], handler = found
        scope["litestar_app"] = app
        request: HttpRequest = Request(scope, receive, send)
        try:
            reply = await (handler(request, last) if named else handler(request))
        except Exception as error:  # noqa: BLE001 – as the framework's own last handler does: any failure is answered
            failure = answer_failure(request, error).to_asgi_response(None, request)
            await failure(scope, receive, send)
        else:
            await reply(scope, receive, send)

    return answer


def _hot_routes(app: Litestar) -> Iterator[tuple[str, str, Handler]]:
    """Method, path template and handler; a template may end with one parameter, a job's id."""
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if handler.opt.get("hot"):
                for method in handler.http_methods - {"OPTIONS"}:
                    yield str(method), route.path_format, cast(Handler, handler.fn)

"""One API request from its headers to its answer: key, faults, idempotency, the verb, `expand`."""

import asyncio
import base64
import binascii
import hashlib
import json
import traceback
from fnmatch import fnmatchcase
from typing import Any

from msgspec.structs import replace

from tests.stripe.server.errors import Json, StripeError, malformed, unauthorized, unseen
from tests.stripe.server.expand import expanded
from tests.stripe.server.form import Params, Tree, parse
from tests.stripe.server.http import Answer, Fate, Request
from tests.stripe.server.resources import call
from tests.stripe.server.world import API_VERSION, Fault, Kept, World

KEY_CHARS_MAX = 255


class Api:
    """Answers under /v1."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._released = asyncio.Event()
        self.log: list[Json] = []
        """Every request that arrived: method, path, parameters, key and status, oldest first."""

    def release(self) -> None:
        """Lets go of the requests that a fault holds."""
        self._released.set()
        self._released = asyncio.Event()

    async def answer(self, request: Request) -> Answer:
        world = self._world
        id = world.new_id("req")
        headers = {"request-id": id, "stripe-version": API_VERSION}
        entry: Json = {"id": id, "method": request.method, "path": request.path, "key": request.headers.get("idempotency-key")}
        self.log.append(entry)
        try:
            account = _authorize(world, request)
            _check_version(request)
            params = _parameters(request)
            entry |= {"account": account, "params": params}
            answer = await self._once(request, id, account, params)
        except StripeError as error:
            answer = _refusal(error, id)
        if key := request.headers.get("idempotency-key"):
            headers["idempotency-key"] = key
        entry["status"] = answer.status
        return replace(answer, headers=headers | answer.headers)

    async def _once(self, request: Request, id: str, account: str, params: Tree) -> Answer:
        """Runs the request, or repeats what it was answered when it ran before; in between, and after it, what is to go wrong does."""
        kept = self._claim(request, id, account, params)
        repeated = kept is not None and kept.status != 0
        try:
            if await self._suffer(request, "before") != "whole":
                raise _Broken
            answer = _repetition(kept) if kept and repeated else self._run(request, id, account, params)
        except _Broken:
            self._forget(request, account, kept)
            return Answer(503, b"{}", fate="reset")
        except StripeError as error:
            if repeated or not error.executed:
                self._forget(request, account, kept)
                raise
            answer = _refusal(error, id)
        try:
            answer = replace(answer, fate=await self._suffer(request, "after"))
        except StripeError as error:
            answer = _refusal(error, id)
        if kept and not repeated:
            kept.status, kept.body = answer.status, answer.body.decode()
        return answer

    def _claim(self, request: Request, id: str, account: str, params: Tree) -> Kept | None:
        """The record of this request's key: fresh, or that of the request that used it first. None without a key."""
        key = request.headers.get("idempotency-key")
        if request.method != "POST" or not key:
            return None
        if len(key) > KEY_CHARS_MAX:
            raise malformed("Idempotency keys may have at most 255 characters.")
        state, name = self._world.state, f"{account}:{key}"
        fingerprint = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()
        kept = state.kept.get(name)
        if kept is None or kept.at + self._world.settings.idempotency_keys_last_s <= state.now:
            state.kept[name] = kept = Kept(id, request.path, fingerprint, state.now)
            return kept
        if (kept.path, kept.fingerprint) != (request.path, fingerprint):
            word = "parameters" if kept.path == request.path else "endpoint"
            raise StripeError(
                400,
                "idempotency_error",
                f"Keys for idempotent requests can only be used with the same {word} they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                executed=False,
            )
        if not kept.status:
            raise StripeError(
                409,
                "idempotency_error",
                f"There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
                f"twice, and the other request is still going through): {key}. Please try again later.",
                code="idempotency_key_in_use",
                executed=False,
            )
        return kept

    def _forget(self, request: Request, account: str, kept: Kept | None) -> None:
        """A request that did not run leaves its key free."""
        if kept and not kept.status:
            self._world.state.kept.pop(f"{account}:{request.headers['idempotency-key']}", None)

    def _run(self, request: Request, id: str, account: str, params: Tree) -> Answer:
        world = self._world
        world.request = {"id": id, "idempotency_key": request.headers.get("idempotency-key")}
        try:
            with world.acting_as(account):
                p = Params({name: value for name, value in params.items() if name != "expand"})
                answer = call(world, request.method, request.path, p)
                expand = Params(params).texts("expand") if "expand" in params else []
                return Answer(200, _encode(expanded(world, answer, expand)))
        except StripeError:
            raise
        except Exception as error:
            traceback.print_exc()  # a defect of this server; its client sees what Stripe's clients see of Stripe's
            raise StripeError(500, "api_error", f"{type(error).__name__}: {error}") from error
        finally:
            world.request = {"id": None, "idempotency_key": None}

    async def _suffer(self, request: Request, at: str) -> Fate:
        """Uses up the first fault laid down for such a request: what becomes of its connection, or the error to answer."""
        for fault in self._world.state.faults:
            if fault.at == at and fault.method in {"*", request.method} and fnmatchcase(request.path, fault.path):
                fault.times -= 1
                if fault.times <= 0:
                    self._world.state.faults.remove(fault)
                return await self._befall(fault)
        return "whole"

    async def _befall(self, fault: Fault) -> Fate:
        if fault.what == "error":
            raise _injected(fault)
        if fault.what == "hold":
            await self._released.wait()
            return "whole"
        return "cut" if fault.what == "cut" else "reset"


class _Broken(Exception):
    """The connection broke before anything ran."""


def _injected(fault: Fault) -> StripeError:
    """An answer of Stripe's own troubles. A 500 was executing and is kept; a refused or locked request was not."""
    executed = fault.status == 500
    error = StripeError(fault.status, fault.type, f"Injected: {fault.code or fault.status}", code=fault.code, executed=executed)
    if fault.status == 500:
        error.headers["stripe-should-retry"] = "false"
    if fault.code == "lock_timeout":
        error.headers["stripe-should-retry"] = "true"
    return error


def _authorize(world: World, request: Request) -> str:
    """The account that the request acts as."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    key = value
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(value).decode().removesuffix(":")
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    if not key:
        raise unauthorized("You did not provide an API key. You need to provide your API key in the Authorization header.")
    if key not in world.settings.secret_keys:
        raise unauthorized(f"Invalid API Key provided: {key[:7]}{'*' * 8}{key[-4:]}")
    account = request.headers.get("stripe-account", world.settings.platform)
    if account != world.settings.platform and account not in world.state.tables.get("account", {}):
        raise unseen(account)
    return account


def _check_version(request: Request) -> None:
    version = request.headers.get("stripe-version", API_VERSION)
    if version != API_VERSION:
        raise malformed(f"Invalid Stripe API version: {version}. This server speaks {API_VERSION} only.")


def _parameters(request: Request) -> Tree:
    try:
        query = parse(request.query)
        body = parse(request.body.decode()) if request.method == "POST" else {}
    except (UnicodeDecodeError, ValueError):
        raise malformed("The request's parameters are not form-encoded UTF-8.") from None
    return query | body


def _encode(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


def _repetition(kept: Kept) -> Answer:
    return Answer(kept.status, kept.body.encode(), {"idempotent-replayed": "true", "original-request": kept.request})


def _refusal(error: StripeError, request_id: str) -> Answer:
    body = {"error": error.body | {"request_log_url": f"https://dashboard.stripe.com/test/logs/{request_id}"}}
    return Answer(error.status, _encode(body), error.headers)

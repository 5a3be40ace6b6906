"""Every operation asked with an id of another organization: it is answered as an id that nothing ever had, and changes nothing."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from billing.kit.pool import APP_ROLE
from billing.kit.query import Conn
from gateway.api.openapi import Operation, operations
from gateway.settings import Settings
from tests.tenants.cases import CASES, NO_IDS, OWN, QUOTA, UNSEEN, WITHOUT, Case
from tests.tenants.sides import Served, Side, everything_of, litestar_of, open_some, served, settings_of, traces, written
from tests.tenants.test_registry import in_registry, statements
from tests.tenants.watch import Watch

SAYS_NOTHING = {
    "GET /v1/models",
    "GET /v1/prices",
    "GET /v1/plans",
    "GET /v1/plan",
    "GET /v1/videos/characters",
    "GET /v1/requests/groups",
}
"""Lists whose answers hold no id and no name of the caller's."""
_OWN_TO_EACH = {"x-request-id", "date"}
_NEW = re.compile(rb"job_[0-9a-f]{32}|\d{4}-\d\d-\d\dT[0-9:.]+Z|\"created_at\":\d+")


def of_operation(operation: Operation) -> str:
    return f"{operation.method.upper()} {operation.path}"


def places(operation: Operation) -> Iterator[tuple[str, str]]:
    """Where an id may stand in a call of the operation: `path`, `query`, `header` or `body`, and the name."""
    yield from (("path", part[1:-1]) for part in operation.path.split("/") if part.startswith("{"))
    for parameter in operation.described.parameters:
        if parameter.where == "query" or parameter.name == "Idempotency-Key":
            yield parameter.where, parameter.name
    for name in getattr(operation.described.body, "__struct_fields__", ()):
        if name == "subject" or name.endswith(("_id", "_ids")):
            yield "body", name


def is_asked(operation: Operation, case: Case, where: str, name: str) -> bool:
    path, _, query = case.path.partition("?")
    match where:
        case "path":
            return ("{" + name + "}", "{}") in zip(operation.path.split("/"), path.split("/"), strict=True)
        case "query":
            return f"{name}={{}}" in query or f"{name}={{hex}}" in query
        case "header":
            return case.headers.get(name.lower()) == "{}"
        case _:
            return (case.body or {}).get(name) == "{}"


def test_every_place_of_an_id_is_asked(tmp_path: Path) -> None:
    """A new operation fails here until `cases.py` says how it is asked, or why it takes nobody's id."""
    every = {of_operation(one): one for one in operations(litestar_of(settings_of("postgresql://nowhere", tmp_path)))}
    missing = [
        f"{name}: give it a Case in tests/tenants/cases.py, or a line in WITHOUT"
        for name in every
        if name not in CASES.keys() | WITHOUT.keys()
    ]
    missing += [f"{name}: there is no such operation" for name in (CASES.keys() | WITHOUT.keys()) - every.keys()]
    for key, cases in CASES.items():
        for where, name in places(every[key]) if key in every else ():
            if name in NO_IDS or f"{key} {name}" in NO_IDS:
                continue
            if not any(is_asked(every[key], case, where, name) for case in cases):
                missing.append(f"{key}: no Case puts {{}} where {name} stands in its {where}")
    assert missing == [], "\n".join(missing)


class Asked(NamedTuple):
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Caller:
    """One side's calls; `manages` by what the operation asks for."""

    def __init__(self, app: Served, side: Side) -> None:
        self._app, self.side = app, side
        self._scoped = {of_operation(one): one.described.scope is not None for one in operations(app.litestar)}
        self.signed = ""

    async def sign(self) -> "Caller":
        """Takes the query of a signed link of its own."""
        job = await self.send("GET /v1/jobs/{job_id}", f"/v1/jobs/{self.side.ids['finished0'].text}")
        self.signed = urlsplit(job.json()["artifacts"][0]["url"]).query
        return self

    async def ask(self, key: str, case: Case, id: str) -> Asked:
        answer = await self.send(key, self._fill(case.path, id), self._fill_all(case.body, id), self._fill_all(case.headers, id))
        headers = tuple(sorted((name, value) for name, value in answer.headers.items() if name not in _OWN_TO_EACH))
        body = answer.content.replace(id.encode(), b"<id>")
        if not case.makes:
            return Asked(answer.status_code, headers, body)
        told = tuple(pair for pair in headers if not pair[0].startswith(("ratelimit", "content-length")))
        return Asked(answer.status_code, told, _NEW.sub(b"<new>", body))

    async def send(self, key: str, path: str, body: Any = None, headers: Any = None) -> httpx.Response:
        bearer = self.side.bearer(manages=self._scoped[key])
        return await self._app.client.request(key.partition(" ")[0], path, json=body, headers={**bearer, **(headers or {})})

    def _fill(self, text: str, id: str) -> str:
        today = datetime.now(UTC).date()
        now = f"from={today - timedelta(days=2)}&to={today + timedelta(days=2)}"
        own = {kind: one.text for kind, one in self.side.ids.items()}
        found = (
            text.replace("{}", id).replace("{hex}", id.replace("-", "")).replace("{signed}", self.signed).replace("{now}", now)
        )
        return re.sub(r"\{(\w+)\}", lambda found: own[found[1]], found)

    def _fill_all(self, values: Any, id: str) -> Any:
        return values and {name: id if value == "{}" else value for name, value in values.items()}


async def test_a_foreign_id_is_as_good_as_none(database: Conn, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, watch = settings_of(dsn, tmp_path), Watch(monkeypatch)
    ada, bob = await open_some(database, settings, ["canary-of-ada", "canary-of-bob"])
    before = await everything_of(database, ada.org_id)
    async with served(settings) as app:
        wrong = await foreign_ids(await Caller(app, bob).sign(), ada)
        wrong += await lists(Caller(app, bob), Caller(app, ada))
        wrong += await own(Caller(app, bob))
    after = await everything_of(database, ada.org_id)
    wrong += [
        f"{table} of the other side has changed"
        for table in before
        if before[table] != after[table] and table not in READS_OF_ADA
    ]
    wrong += await own_ids(settings, ada)
    wrong += acted_otherwise(watch)
    assert wrong == [], "\n".join(wrong)


READS_OF_ADA = {"gateway.request", "gateway.request_reads", "gateway.key_use"}
"""What `lists` has asked as Ada is logged as hers."""


def acted_otherwise(watch: Watch) -> list[str]:
    """All that the calls above made the process run, it ran as the tenant, or it stands in the registry; and nothing is unseen."""
    wrong: list[str] = []
    for one in statements():
        if in_registry(one):
            continue
        name, acted = f"{one.module}.{one.name}", watch.acted[one.sql]
        if APP_ROLE in acted:
            wrong.append(f"{name} was run for one organization and saw all of them: open its transaction with tenant()")
        elif not acted and name not in UNSEEN:
            wrong.append(f"{name} was never run: give it a call in OWN of tests/tenants/cases.py, or a line in the registry")
    return wrong


async def own(caller: Caller) -> list[str]:
    answers = [(case, await caller.ask(key, case, caller.side.mark)) for key, case in OWN]
    return [f"{case.path}: {answer}" for case, answer in answers if answer.status >= 300 and case.body is not QUOTA]


async def foreign_ids(bob: Caller, ada: Side) -> list[str]:
    wrong: list[str] = []
    for key, cases in CASES.items():
        for case in cases:
            known = ada.ids[case.kind]
            answers = [await bob.ask(key, case, text) for text in (known.text, known.never)]
            if answers[0] != answers[1]:
                wrong.append(f"{key} {case.path} {case.kind}: {answers[0]} and never: {answers[1]}")
            if answers[0].status >= 500 and case.kind != "token":
                wrong.append(f"{key} {case.path}: {answers[0]}")
            said = msgspec.json.encode(answers[0].headers) + answers[0].body
            wrong += [f"{key} {case.path} tells {word}" for word in traces(ada, but=written(known.text)) if word.encode() in said]
    return wrong


async def lists(bob: Caller, ada: Caller) -> list[str]:
    """What is listed without any id is the caller's own, and is it indeed."""
    wrong: list[str] = []
    for key in [*CASES, *WITHOUT]:
        method, _, path = key.partition(" ")
        if method != "GET" or "{" in path or WITHOUT.get(key) in ("public", "the operator's", "a person's own"):
            continue
        query = {"/v1/usage": "?{now}&group_by=project,key", "/v1/usage/jobs": "?{now}", "/v1/statement": "?{now}"}.get(path, "")
        theirs, own = [(await caller.ask(key, Case("", path + query), "none")) for caller in (bob, ada)]
        wrong += [f"{key} lists {word}" for word in traces(ada.side) if word.encode() in theirs.body]
        if theirs.status != own.status or not (
            key in SAYS_NOTHING or any(word.encode() in own.body for word in traces(ada.side))
        ):
            wrong.append(f"{key}: nothing of its own is listed: {own}")
    return wrong


async def own_ids(settings: Settings, side: Side) -> list[str]:
    """The proof that the ids above mean something: to their owner the first case of each operation is answered otherwise."""
    wrong: list[str] = []
    async with served(settings) as app:
        owner = await Caller(app, side).sign()
        for key, (case, *_) in CASES.items():
            known = side.ids[case.kind]
            never = await owner.ask(key, case, known.never)
            if never.status >= 400 and "characters" not in key and "remix" not in key:
                own = await owner.ask(key, case, known.text)
                if own.status == never.status:
                    wrong.append(f"{key} {case.path}: its owner is told the same: {own}")
    return wrong

"""The public API as the command uses it: the same routes, structs and errors that every customer has."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from gateway.dialects.native.wire import Estimate, JobList, JobView

Answer = TypeVar("Answer")

TRIES = 6
"""A request is sent again when the connection broke or the gateway said 503: for 6 s in all."""
UNAVAILABLE = 503
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


class ApiError(Exception):
    """The API refused, or could not be reached; the sentence is its own."""

    def __init__(self, sentence: str, *, code: str = "unreachable", status: int = 0) -> None:
        super().__init__(sentence)
        self.code, self.status = code, status


class ApiClient:
    """Use it as an async context manager. Every method raises ApiError."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url.rstrip("/")
        local = (urlsplit(base_url).hostname or "") in ("127.0.0.1", "::1", "localhost")
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}", "user-agent": "tallylight-cli"}, timeout=30.0, trust_env=not local
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self._http.aclose()

    async def estimate(self, body: Mapping[str, object]) -> Estimate:
        return await self._send("POST", "/v1/estimate", Estimate, json=body)

    async def create(self, body: Mapping[str, object]) -> JobView:
        """Sent again with the same Idempotency-Key when the answer was lost, so that one job is made and paid."""
        return await self._send("POST", "/v1/jobs", JobView, json=body, headers={"idempotency-key": secrets.token_hex(16)})

    async def job(self, job_id: str) -> JobView:
        return await self._send("GET", f"/v1/jobs/{job_id}", JobView)

    async def jobs(self, **query: str | int | None) -> JobList:
        return await self._send("GET", "/v1/jobs", JobList, params={name: value for name, value in query.items() if value})

    async def cancel(self, job_id: str) -> JobView:
        return await self._send("POST", f"/v1/jobs/{job_id}/cancel", JobView)

    async def delete(self, job_id: str) -> None:
        await self._send("DELETE", f"/v1/jobs/{job_id}", None)

    async def manage(self, method: str, path: str, kind: Any, **request: Any) -> Any:
        """A call of the management API, of which a change is sent once: whether it was made can be read."""
        return await self._send(method, path, kind, tries=TRIES if method == "GET" else 1, **request)

    async def watch(self, job_id: str) -> AsyncIterator[JobView]:
        """The job whenever it has changed, up to its final state."""
        last, pause_s = None, 0.1
        while True:
            job = await self.job(job_id)
            if job != last:
                yield job
                last, pause_s = job, 0.1
            if job.state in FINAL:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.3, 1.0)

    async def download(self, url: str, path: Path, progressed: Callable[[int], None] = lambda _bytes: None) -> int:
        """Writes beside `path` and renames when it is complete. Returns the number of bytes."""
        beside = path.with_name(f".{path.name}.part")
        try:
            async with self._http.stream("GET", url) as answer:
                if not answer.is_success:
                    raise _refusal(answer, await answer.aread())
                with beside.open("wb") as file:
                    async for chunk in answer.aiter_bytes():
                        file.write(chunk)
                        progressed(len(chunk))
            size = beside.stat().st_size
            beside.replace(path)
            return size
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            beside.unlink(missing_ok=True)

    async def _send(self, method: str, path: str, kind: Any, *, tries: int = TRIES, **request: Any) -> Any:
        url, pause_s = self.base_url + path, 0.2
        for tried in range(1, tries + 1):
            try:
                answer = await self._http.request(method, url, **request)
            except httpx.HTTPError as error:
                if tried == tries or not isinstance(error, httpx.TransportError):
                    raise self._unreachable(error) from error
            else:
                if answer.is_success:
                    return _decode(answer.content, kind)
                if tried == tries or answer.status_code != UNAVAILABLE:
                    raise _refusal(answer, answer.content)
            await asyncio.sleep(pause_s)
            pause_s *= 2
        raise AssertionError

    def _unreachable(self, error: Exception) -> ApiError:
        why = str(error) or type(error).__name__
        return ApiError(f"{self.base_url} cannot be reached ({why}); is `tallylight up` running, and is the URL right?")


def _decode(content: bytes, kind: Any) -> Any:
    if kind is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise ApiError(f"the answer is not one of a Tallylight gateway ({error}); is the URL right?", code="not_ours") from error


class _Problem(msgspec.Struct, frozen=True):
    """What is read of RFC 9457."""

    detail: str = ""
    code: str = ""


def _refusal(answer: httpx.Response, content: bytes) -> ApiError:
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    sentence = problem.detail or f"{answer.url} answers {answer.status_code} {answer.reason_phrase}"
    return ApiError(sentence, code=problem.code or "error", status=answer.status_code)


def connection(url: str | None, key: str | None, data: Path, *, manages: bool = False) -> tuple[str, str]:
    """Base URL and key: as flags, else TALLYLIGHT_BASE_URL and TALLYLIGHT_API_KEY, else the demo under `data`, where `manages`
    chooses its management key.

    Raises ApiError saying how to give them.
    """
    from gateway.local.folder import Credentials, read_credentials

    url = url or os.environ.get("TALLYLIGHT_BASE_URL")
    key = key or os.environ.get("TALLYLIGHT_API_KEY")
    if url and key:
        return url, key
    nobody = Credentials(link_secret="", operator_token="", webhook_secret="", sign_in_secret="")
    try:
        demo = read_credentials(data)
    except (OSError, msgspec.DecodeError):
        demo = nobody
    if url and demo.base_url != url.rstrip("/"):
        demo = nobody  # the demo's key is not shown to another server
    demo_key = demo.management_key if manages else demo.api_key
    if not (url or demo.base_url) or not (key or demo_key):
        missing = "TALLYLIGHT_API_KEY (or --key)" if url else "TALLYLIGHT_BASE_URL (or --url) and TALLYLIGHT_API_KEY (or --key)"
        raise ApiError(f"give {missing}, or start `tallylight up` in this folder", code="no_credentials")
    return url or demo.base_url, key or demo_key

"""A person at Stripe's pages: without a browser by reading the HTML's forms, or in a real one through its WebDriver."""

import socket
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx
import msgspec

START_S = 30.0
FIND_MS = 20_000
"""How long a page may take to show what is looked for."""
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""How WebDriver names a reference to an element."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Form(msgspec.Struct):
    action: str
    id: str
    fields: dict[str, str]
    label: str = ""


class _Forms(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self.alert = ""
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(said["action"], said.get("id", ""), {}))
        elif tag == "input":
            self.found[-1].fields[said["name"]] = said.get("value", "")
        self._in = "alert" if said.get("role") == "alert" else tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's own signature
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "button":
            self.found[-1].label = data
        elif self._in == "alert":
            self.alert = data


class Visitor:
    """Reads one page at a time; `url` is where it stands, also outside of the server, where it reads nothing."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.url = ""
        self.page = ""

    @property
    def forms(self) -> list[Form]:
        return _Forms(self.page).found

    @property
    def alert(self) -> str:
        return _Forms(self.page).alert

    async def open(self, url: str) -> None:
        self.url, self.page = url, ""
        if url.startswith(str(self._client.base_url)):
            self._read(await self._client.get(url))

    async def press(self, label: str, **typed: str) -> None:
        """Sends the form whose button says `label`; `typed` are inputs by the last part of their names."""
        (form,) = [form for form in self.forms if label in form.label]
        fields = {name: typed.get(name.rstrip("]").rpartition("[")[2], value) for name, value in form.fields.items()}
        answer = await self._client.post(urljoin(self.url, form.action), data=fields)
        if answer.status_code == 303:
            await self.open(answer.headers["location"])
        else:
            self._read(answer)

    def _read(self, answer: httpx.Response) -> None:
        self.page = answer.text


class Browser:
    """The few commands of WebDriver that a checkout takes; made by `browsing`."""

    def __init__(self, client: httpx.AsyncClient, session: str) -> None:
        self._client = client
        self._session = session

    async def open(self, url: str) -> None:
        await self._tell("url", {"url": url})

    async def type(self, selector: str, text: str) -> None:
        await self._tell(f"element/{await self._find(selector)}/value", {"text": text})

    async def click(self, selector: str) -> None:
        await self._tell(f"element/{await self._find(selector)}/click", {})

    async def text(self, selector: str) -> str:
        found = await self._find(selector)
        return (await self._client.get(f"/session/{self._session}/element/{found}/text")).json()["value"]

    async def _find(self, selector: str) -> str:
        return (await self._tell("element", {"using": "css selector", "value": selector}))[ELEMENT]

    async def _tell(self, verb: str, said: dict[str, Any]) -> Any:
        answer = await self._client.post(f"/session/{self._session}/{verb}", json=said)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


@asynccontextmanager
async def browsing(driver: str) -> AsyncGenerator[Browser]:
    """A headless Chromium driven by the ChromeDriver at that path."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            deadline_s = time.monotonic() + START_S
            while True:
                try:
                    await client.get("/status")
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline_s
                    assert process.poll() is None
            wanted = {
                "capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": list(FLAGS)}, "timeouts": {"implicit": FIND_MS}}}
            }
            session = (await client.post("/session", json=wanted)).json()["value"]["sessionId"]
            yield Browser(client, session)
            await client.delete(f"/session/{session}")
    finally:
        process.terminate()
        process.wait()

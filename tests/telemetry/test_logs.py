"""What a process writes to standard error: one JSON object per line, and never a secret."""

import subprocess
import sys
from typing import Any

import msgspec

CANARY = "canary_0f3a9c"
KEY = f"tl_live_{CANARY}"

PRELUDE = f"""
import asyncio, logging, warnings
import msgspec, structlog
from gateway.settings import Secret
from gateway.telemetry import logs
logs.configure("info")
log = structlog.get_logger("here")
CANARY, KEY = "{CANARY}", "{KEY}"
"""


def logged(script: str, status: int = 0) -> list[dict[str, Any]]:
    """Run `script` in a process of its own and read back every line it logged."""
    done = subprocess.run([sys.executable, "-W", "default", "-c", PRELUDE + script], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr.decode()
    assert done.stderr.endswith(b"\n")
    return [msgspec.json.decode(line, type=dict[str, Any]) for line in done.stderr.splitlines()]


def test_every_logger_writes_one_json_object_per_line() -> None:
    lines = logged("""
log.info("job_ended", rows=3, text="two\\nlines")
log.debug("unseen")
logging.getLogger("uvicorn.error").warning("Started %s", "server")
logging.getLogger("uvicorn.access").info("GET /artifacts/x?signature=secret")
logging.getLogger("asyncio").log(25, "odd level")
logging.getLogger("any").debug("unseen")
warnings.warn("careful", UserWarning)
log.error("bad_values", surrogate="\\ud800", number=1 << 70, thing=object, raw=b"\\xff")
""")
    assert [(line["logger"], line["level"], line["event"]) for line in lines[:3]] == [
        ("here", "info", "job_ended"),
        ("uvicorn.error", "warning", "Started server"),
        ("asyncio", "info", "odd level"),
    ]
    assert (lines[0]["rows"], lines[0]["text"]) == (3, "two\nlines")
    assert list(lines[0])[:4] == ["at", "level", "logger", "event"]
    assert (lines[3]["logger"], "careful" in lines[3]["event"]) == ("py.warnings", True)
    assert lines[4]["surrogate"] == "'\\ud800'"
    assert len(lines) == 5


def test_a_secret_never_stands_in_a_line() -> None:
    lines = logged("""
class Row(msgspec.Struct):
    api_key: str
    rows: int
for name in "prompt negative_prompt Authorization api_key x-api-key client_secret token password Cookie".split():
    log.info("named", **{name: CANARY})
    log.info("nested", headers={"deep": [{name: CANARY}], name: [CANARY]})
log.info("value", note=f"sent {KEY} twice {KEY}", row=Row(CANARY, 3), **{KEY: 1})
log.info(f"in the event {KEY}")
log.info("url", dsn=f"postgresql://user:{CANARY}@host/db", header=f"Bearer {CANARY}", object=Secret(CANARY))
logging.getLogger("uvicorn.error").error("stdlib %s", KEY)
try:
    local = CANARY
    raise ValueError(f"bad key {KEY}")
except ValueError:
    log.exception("failed", prompt=CANARY)
    logging.getLogger("any").exception("failed")
""")
    assert len(lines) == 24
    assert not [line for line in lines if CANARY in str(line)]
    assert [line["exception"].splitlines()[-1] for line in lines[-2:]] == ["ValueError: bad key tl_live_***"] * 2


def test_what_is_no_secret_stays() -> None:
    (line,) = logged(
        """log.info("seen", prompt_tokens=12, api_key_id="ak_1", url="http://host/a@b", mode="tl_live", token=None)"""
    )
    assert (line["prompt_tokens"], line["api_key_id"], line["token"]) == (12, "ak_1", None)
    assert (line["url"], line["mode"]) == ("http://host/a@b", "tl_live")


def test_ids_follow_the_task_and_those_it_starts() -> None:
    lines = logged("""
async def inner(): log.info("inner")
async def job(number):
    with logs.about(job_id=f"job_{number}", attempt=number):
        await asyncio.gather(inner(), inner())
async def main():
    with logs.about(request_id="req_1"):
        await asyncio.gather(job(1), job(2))
        log.info("outer")
    log.info("after")
asyncio.run(main())
""")
    inner = sorted((line["request_id"], line["job_id"], line["attempt"]) for line in lines[:4])
    assert inner == [("req_1", "job_1", 1)] * 2 + [("req_1", "job_2", 2)] * 2
    assert ("job_id" in lines[4], lines[4]["request_id"], "request_id" in lines[5]) == (False, "req_1", False)


def test_an_uncaught_error_of_a_task_is_a_line_too() -> None:
    lines = logged("""
async def fails(): raise ValueError(KEY)
async def main():
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    task = loop.create_task(fails())
    task.add_done_callback(lambda _: ended.set())
    await ended.wait()
asyncio.run(main())
""")
    assert [line["logger"] for line in lines] == ["asyncio"]
    assert "ValueError: tl_live_***" in lines[0]["exception"]

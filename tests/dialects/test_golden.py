"""Translation without a server: what a request means and how a job looks, against files that can be read."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from billing.pricing.model import Terms
from gateway import errors
from gateway.dialects.ark import translate as ark
from gateway.dialects.ark.wire import CreateTask, Options
from gateway.dialects.openai import translate as openai
from gateway.dialects.openai.wire import CreateVideo
from gateway.edge.bodies import convert
from gateway.errors import GatewayError
from gateway.video import Artifact, Ask, Job, VideoRequest

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REQUEST = VideoRequest(
    model="testcard",
    prompt="a lamp",
    width=1280,
    height=720,
    fps=24,
    frames=120,
    resolution="720p",
    ratio="16:9",
    steps=30,
    guidance=5.0,
    queue_deadline_s=172_800,
)
JOB = Job(
    org_id=UUID(int=1),
    id=UUID(int=2),
    project_id=UUID(int=3),
    livemode=True,
    dialect="native",
    state="queued",
    terms=Terms(rate_card_id=UUID(int=4), currency="CNY", price_micro=1_000_000),
    max_ms=5000,
    hold_micro=5_000_000,
    created_at=AT,
    frames_total=120,
    request=REQUEST,
)


def cases(file: str) -> list[Any]:
    """One parameter for each case of a golden file, by its name."""
    return [pytest.param(case, id=case["name"]) for case in msgspec.json.decode((GOLDEN / file).read_bytes())]


def job_of(changes: dict[str, Any]) -> Job:
    """JOB with changes; those under `request` are the request's. Times are seconds after it was created."""
    fields = dict(changes)
    request = msgspec.structs.replace(REQUEST, **fields.pop("request", {}))
    for name in ("started_at", "finished_at", "assets_expire_at", "assets_deleted_at"):
        if name in fields:
            fields[name] = datetime.fromtimestamp(AT.timestamp() + fields[name], UTC)
    fields["artifacts"] = tuple(Artifact(name, f"key/{name}", "video/mp4", 9, "00") for name in fields.pop("artifacts", ()))
    return msgspec.structs.replace(JOB, request=request, **fields)


def said(ask: Ask) -> dict[str, Any]:
    """What an ask says beyond the defaults."""
    silent = msgspec.structs.asdict(Ask(model="", prompt=""))
    return {name: value for name, value in msgspec.structs.asdict(ask).items() if value != silent[name]}


def outcome(meant: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return meant()
    except GatewayError as error:
        return {"refused": error.code, "param": error.param, "message": error.message}


def openai_meaning(case: dict[str, Any]) -> dict[str, Any]:
    given, ignored = openai.without_unknown(case["sent"]) if case.get("lenient") else (case["sent"], ())
    body = convert(given, CreateVideo, strict=False)
    url = openai.reference_url(body)
    meant = {"ask": said(openai.ask_of(body, "default"))} | ({"image": url} if url else {})
    return meant | ({"ignored": list(ignored)} if ignored else {})


def ark_meaning(case: dict[str, Any]) -> dict[str, Any]:
    lenient, given = bool(case.get("lenient")), ark.without_null(case["sent"])
    given, unknown = ark.without_unknown(given) if lenient else (given, ())
    task = convert(given, CreateTask, strict=True)
    meant = ark.understand(task, lambda flags: convert(flags, Options, strict=False), lenient=lenient)
    images = [{"role": image.role, "url": image.url} for image in meant.images]
    ignored = [*unknown, *meant.ignored]
    return {"ask": said(meant.ask)} | ({"images": images} if images else {}) | ({"ignored": ignored} if ignored else {})


def link(job: Job, name: str) -> str | None:
    return f"https://gateway/{name}" if job.artifact(name) else None


@pytest.mark.parametrize("case", cases("openai_asks.json"))
def test_what_a_video_request_means(case: dict[str, Any]) -> None:
    assert outcome(lambda: openai_meaning(case)) == case["means"]


@pytest.mark.parametrize("case", cases("ark_asks.json"))
def test_what_a_task_means(case: dict[str, Any]) -> None:
    assert outcome(lambda: ark_meaning(case)) == case["means"]


@pytest.mark.parametrize("case", cases("jobs.json"))
def test_how_a_job_looks(case: dict[str, Any]) -> None:
    job = job_of(case["job"])
    assert msgspec.json.decode(openai.render(job)) == case["openai"]
    assert msgspec.json.decode(ark.render(job, link)) == case["ark"]


@pytest.mark.parametrize("case", cases("errors.json"))
def test_how_an_error_looks(case: dict[str, Any]) -> None:
    error = getattr(errors, case["error"])(*case.get("with", []), param=case.get("param"))
    assert msgspec.json.decode(openai.render_error(error)[0])["error"] == case["openai"]
    assert msgspec.json.decode(ark.render_error(error)[0])["error"] == case["ark"]


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GatewayError)]
)
def test_every_error_has_a_type(kind: type[GatewayError]) -> None:
    for render in (openai.render_error, ark.render_error):
        error = msgspec.json.decode(render(kind())[0])["error"]
        assert error["code"] == kind.code
        assert error["message"] and error["type"]
        assert ("server" in error["type"].lower()) == (kind.status >= 500)

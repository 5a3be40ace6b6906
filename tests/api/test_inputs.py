"""What stays in the store of the images that come with a request."""

import copy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from gateway.dialects.native.examples import CREATE_JOB
from tests.stack import Stack


def stored(desk: Stack, org: str) -> list[str]:
    """The names of all objects of one organization, notes included."""
    root = Path(urlsplit(desk.settings.media_url).path)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and org in path.parts)


def test_an_accepted_image_stays_without_a_note_and_a_refused_one_not_at_all(desk: Stack) -> None:
    customer = desk.customer()
    org = customer.org_id.hex
    good: dict[str, Any] = CREATE_JOB["image"]
    bad = copy.deepcopy(good)
    bad["inputs"].append({"role": "last_frame", "data": "data:image/png;base64,AAAA"})
    with httpx.Client(base_url=desk.base_url, headers=customer.bearer, trust_env=False, timeout=30) as client:
        assert client.post("/v1/jobs", json=bad).json()["code"] == "invalid_media"
        assert stored(desk, org) == []
        job = client.post("/v1/jobs", json=good).raise_for_status().json()["id"]
    assert stored(desk, org) == [f"orgs/{org}/jobs/{job.removeprefix('job_')}/inputs/0"]

"""/v1/videos on the wire: what SDKs other than Python's, proxies and plain programs may send."""

from collections.abc import Generator
from typing import Any

import httpx
import pytest

from tests.dialects.pictures import data_url, png
from tests.stack import Customer, Stack, bearer

PARKED = {"prompt": "a lamp", "model": "parked", "seconds": "1", "size": "320x180"}


@pytest.fixture
def http(stack: Stack, customer: Customer) -> Generator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, headers=customer.bearer, timeout=30) as client:
        yield client


def refused(answer: httpx.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """The error object, after its shape and these parts of it were checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    return error


# -- create ------------------------------------------------------------------------------------------------------------
def test_the_model_may_be_left_out(http: httpx.Client) -> None:
    assert http.post("/v1/videos", json={"prompt": "a lamp"}).json()["model"] == "testcard"


def test_numbers_may_be_numbers(http: httpx.Client) -> None:
    assert http.post("/v1/videos", json={**PARKED, "seconds": 1, "fps": "12", "audio": "false"}).json()["seconds"] == "1"


def test_a_form_without_files(http: httpx.Client) -> None:
    form = {**PARKED, "fps": "12", "metadata[scene]": "4", "metadata[take]": "2"}
    answer = http.post("/v1/videos", files={name: (None, value) for name, value in form.items()})
    assert answer.json()["metadata"] == {"scene": "4", "take": "2"}


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_form_in_any_chunks(http: httpx.Client, size: int) -> None:
    body = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (k.encode(), v.encode()) for k, v in PARKED.items()
    )
    body += b"--B--\r\n"
    chunks = (body[at : at + size] for at in range(0, len(body), size))
    answer = http.post("/v1/videos", content=chunks, headers={"content-type": "multipart/form-data; boundary=B"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "field",
    [
        {"input_reference[image_url]": data_url(png())},
        {"input_reference": data_url(png())},
        {"input_reference": f'{{"image_url": "{data_url(png())}"}}'},
    ],
    ids=["brackets", "text", "json-in-text"],
)
def test_a_reference_in_a_form(http: httpx.Client, field: dict[str, str]) -> None:
    answer = http.post("/v1/videos", files={name: (None, value) for name, value in {**PARKED, **field}.items()})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "reference, code",
    [
        ({"image_url": "http://127.0.0.1/a.png"}, "invalid_media"),
        ({"image_url": "data:text/plain;base64,AAAA"}, "invalid_media"),
        (data_url(b"no picture"), "invalid_media"),
        ('{"image_url": 5}', "invalid_media"),
        ("file-123", "invalid_media"),
    ],
)
def test_a_bad_reference(http: httpx.Client, reference: object, code: str) -> None:
    refused(http.post("/v1/videos", json={**PARKED, "input_reference": reference}), 400, code, "input_reference")


def test_a_reference_to_a_file_of_theirs(http: httpx.Client) -> None:
    answer = http.post("/v1/videos", json={**PARKED, "input_reference": {"file_id": "file-1"}})
    refused(answer, 400, "unsupported_field", "input_reference.file_id")


def test_one_reference_only(http: httpx.Client) -> None:
    one = ("input_reference", ("a.png", png(), "image/png"))
    fields = [(name, (None, value)) for name, value in PARKED.items()]
    refused(http.post("/v1/videos", files=[*fields, one, one]), 400, "invalid_request", "input_reference")
    url = ("input_reference[image_url]", (None, data_url(png())))
    refused(http.post("/v1/videos", files=[*fields, one, url]), 400, "invalid_request", "input_reference")


def test_a_model_that_takes_no_pictures(http: httpx.Client) -> None:
    answer = http.post("/v1/videos", json={**PARKED, "model": "plain", "input_reference": data_url(png())})
    refused(answer, 400, "unsupported_field", "input_reference")


@pytest.mark.parametrize(
    "change, param",
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"seconds": "long"}, "seconds"),
        ({"seconds": "nan"}, "seconds"),
        ({"seconds": "inf"}, "seconds"),
        ({"guidance": "nan"}, "guidance"),
        ({"size": "big"}, "size"),
        ({"size": "321x180"}, "size"),
        ({"frames": 24}, "frames"),
        ({"resolution": "720p"}, "size"),
        ({"tier": "gold"}, "tier"),
        ({"seed": -1}, "seed"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
    ],
)
def test_a_bad_field(http: httpx.Client, change: dict[str, object], param: str) -> None:
    refused(http.post("/v1/videos", json={**PARKED, **change}), 400, "invalid_request", param)


def test_no_prompt_and_no_model(http: httpx.Client) -> None:
    refused(http.post("/v1/videos", json={}), 400, "invalid_request", "prompt")
    refused(http.post("/v1/videos", json={**PARKED, "model": "sora-2"}), 400, "unknown_model", "model")


def test_unknown_fields_are_refused_unless_the_key_is_lenient(http: httpx.Client, stack: Stack, customer: Customer) -> None:
    files = {**{name: (None, value) for name, value in PARKED.items()}, "mask": ("m.png", png(), "image/png")}
    refused(http.post("/v1/videos", files=files), 400, "unsupported_field", "mask")
    refused(http.post("/v1/videos", json={**PARKED, "style": "x"}), 400, "unsupported_field", "style")
    with httpx.Client(base_url=stack.base_url, headers=bearer(customer.lenient)) as lenient:
        answer = lenient.post("/v1/videos", json={**PARKED, "style": "x", "é\r\nset-cookie: a": 1})
        assert (answer.status_code, answer.headers["x-ignored-fields"]) == (200, "style, %C3%A9%0D%0Aset-cookie%3A%20a")
        assert "set-cookie" not in answer.headers
        assert "x-ignored-fields" not in lenient.post("/v1/videos", json=PARKED).headers
        assert lenient.post("/v1/videos", files=files).headers["x-ignored-fields"] == "mask"


# -- read --------------------------------------------------------------------------------------------------------------
def test_pollers_are_told_when_to_come_again(http: httpx.Client) -> None:
    made = http.post("/v1/videos", json=PARKED)
    assert made.headers["openai-poll-after-ms"] == "1000"
    path = f"/v1/videos/{made.json()['id']}"
    assert http.get(path).headers["openai-poll-after-ms"] == "1000"
    assert http.delete(path).status_code == 200


def test_a_job_that_no_chip_can_run_has_no_place_in_the_queue(http: httpx.Client) -> None:
    """Of one that waits for a slot: tests/stories/test_promises.py."""
    made = http.post("/v1/videos", json=PARKED).json()
    for found in (made, http.get(f"/v1/videos/{made['id']}").json(), *http.get("/v1/videos").json()["data"]):
        assert found["queue"] == {"position": None}


def test_a_page_names_its_ends(http: httpx.Client) -> None:
    ids = [http.post("/v1/videos", json=PARKED).json()["id"] for _ in range(3)]
    page = http.get("/v1/videos", params={"limit": 2}).json()
    assert {name: page[name] for name in ("object", "first_id", "last_id", "has_more")} == {
        "object": "list", "first_id": ids[2], "last_id": ids[1], "has_more": True,
    }  # fmt: skip
    page = http.get("/v1/videos", params={"limit": 2, "after": ids[1]}).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[0], False)


@pytest.mark.parametrize(
    "name, value", [("limit", "0"), ("limit", "101"), ("limit", "²"), ("limit", ""), ("order", "up"), ("after", "video_1")]
)
def test_a_bad_query(http: httpx.Client, name: str, value: str) -> None:
    refused(http.get("/v1/videos", params={name: value}), 400, "invalid_request", name)


def test_others_do_not_see_it(http: httpx.Client, stack: Stack, customer: Customer) -> None:
    path = f"/v1/videos/{http.post('/v1/videos', json=PARKED).json()['id']}"
    for key in (stack.customer().live, customer.test):
        with httpx.Client(base_url=stack.base_url, headers=bearer(key)) as other:
            for answer in (other.get(path), other.get(f"{path}/content"), other.delete(path)):
                refused(answer, 404, "not_found")
            assert other.get("/v1/videos").json()["data"] == []
    assert http.get(path).json()["status"] == "queued"


def test_a_file_whole_and_in_parts(http: httpx.Client, stack: Stack) -> None:
    path = f"/v1/videos/{http.post('/v1/videos', json={**PARKED, 'model': 'testcard'}).json()['id']}"
    refused(http.get(f"{path}/content"), 404, "artifact_not_available")
    stack.wait(lambda: http.get(path).json()["status"] == "completed", "the video is made")
    assert "openai-poll-after-ms" not in http.get(path).headers
    whole = http.get(f"{path}/content")
    part = http.get(f"{path}/content", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"ftyp", f"bytes 4-7/{len(whole.content)}")
    head = http.head(f"{path}/content")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(whole.content)), b"")
    assert http.get(f"{path}/content", headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    refused(http.get(f"{path}/content", headers={"range": "bytes=99999999-"}), 416, "range_not_satisfiable")
    refused(http.get(f"{path}/content", params={"variant": "spritesheet"}), 400, "unsupported_field", "variant")
    refused(http.get(f"{path}/content", params={"variant": "gif"}), 400, "invalid_request", "variant")
    refused(http.get(f"{path}/content", params={"variant": "last_frame"}), 404, "artifact_not_available")


# -- every error in one shape ------------------------------------------------------------------------------------------
def test_errors_of_the_transport(http: httpx.Client, stack: Stack) -> None:
    refused(httpx.get(f"{stack.base_url}/v1/videos"), 401, "invalid_api_key")
    refused(http.get("/v1/videos/job_1"), 404, "not_found")
    refused(http.get("/v1/videos/a/b/c"), 404, "not_found")
    refused(http.put("/v1/videos"), 405, "method_not_allowed")
    refused(http.post("/v1/videos", content=b"{"), 400, "invalid_request")
    refused(http.post("/v1/videos", content=b"[]"), 400, "invalid_request")
    refused(http.post("/v1/videos", content=b"[" * 100_000), 400, "invalid_request")
    refused(http.post("/v1/videos", content=b"x=1", headers={"content-type": "text/plain"}), 415, "unsupported_content_type")
    refused(
        http.post("/v1/videos", content=b"--B\r\n", headers={"content-type": "multipart/form-data; boundary=B"}),
        400,
        "invalid_request",
    )
    refused(http.post("/v1/videos", content=b"--B\r\n", headers={"content-type": "multipart/form-data"}), 400, "invalid_request")
    refused(http.post("/v1/videos", content=b" " * (17 << 20)), 413, "request_too_large")
    refused(
        http.post("/v1/videos", json=PARKED, headers={"idempotency-key": "a" * 256}), 400, "invalid_request", "Idempotency-Key"
    )
    refused(http.get("/v1/videos", headers={f"x-{n}": "a" for n in range(120)}), 431, "headers_too_large")

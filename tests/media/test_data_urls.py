import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.errors import ImageRejected
from gateway.media.images import decode_data_url


def test_data_urls_decode_to_their_bytes() -> None:
    data = bytes(range(256))
    text = base64.b64encode(data).decode()
    for kind in ("png", "jpeg", "jpg", "webp"):
        assert decode_data_url(f"data:image/{kind};base64,{text}", len(data)) == data
    assert decode_data_url(f"DATA:image/PNG;base64,{text}", len(data)) == data


BAD_URLS = {
    "https://example.com/cat.png": "not_a_data_url",
    " HTTP://example.com/cat.png": "not_a_data_url",
    "": "not_a_data_url",
    "asset://cat": "not_a_data_url",
    "file:///etc/passwd": "not_a_data_url",
    "iVBORw0KGgo=": "not_a_data_url",
    "data:image/png,iVBORw0KGgo=": "not_a_data_url",
    "data:image/svg+xml;base64,PHN2Zz4=": "not_a_data_url",
    "data:text/html;base64,PHN2Zz4=": "not_a_data_url",
    "data:image/png;charset=x;base64,AAAA": "not_a_data_url",
    "data:image/png;base64,": "bad_base64",
    "data:image/png;base64,AAA": "bad_base64",
    "data:image/png;base64,AA=A": "bad_base64",
    "data:image/png;base64,AAAA\n": "bad_base64",
    "data:image/png;base64,AA AA": "bad_base64",
    "data:image/png;base64,AA-_": "bad_base64",
    "data:image/png;base64,AAAA====": "bad_base64",
    "data:image/png;base64,ÄÄÄÄ": "bad_base64",
    "data:image/png;base64," + "A" * 200: "too_many_bytes",
}


@pytest.mark.parametrize("text", BAD_URLS)
def test_data_urls_that_are_refused(text: str) -> None:
    with pytest.raises(ImageRejected) as caught:
        decode_data_url(text, 100)
    assert caught.value.code == BAD_URLS[text]


@given(data=st.binary(min_size=1, max_size=200))
def test_the_size_is_known_before_decoding(data: bytes) -> None:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    assert decode_data_url(url, len(data)) == data
    with pytest.raises(ImageRejected) as caught:
        decode_data_url(url, len(data) - 1)
    assert caught.value.code == "too_many_bytes"


@given(text=st.text(max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    for url in (text, "data:image/png;base64," + text):
        with suppress(ImageRejected):
            decode_data_url(url, 20)

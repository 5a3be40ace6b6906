"""The HTTP/1.1 parser's limits: a connection that sends too much of a header is answered 431 and closed."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_MAX = 100
HEADER_BYTES_MAX = 64 * 1024
_ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s"
)
_BODY = (
    b'{"error":{"code":"headers_too_large","type":"invalid_request_error","param":null,'
    b'"message":"The request has too many or too large headers. Send fewer than 100 headers and less than 64 KiB of them."}}'
)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's own protocol buffers any number of headers; this one stops at HEADERS_MAX or HEADER_BYTES_MAX."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 – uvicorn's own signature, handed on
        super().__init__(*args, **kwargs)
        self._header_count = self._header_bytes = 0

    def on_message_begin(self) -> None:
        self._header_count = self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value), 1)
        super().on_header(name, value)

    def _count(self, size: int, headers: int) -> None:
        self._header_bytes += size
        self._header_count += headers
        if self._header_count > HEADERS_MAX or self._header_bytes > HEADER_BYTES_MAX:
            if not self.transport.is_closing():
                self.transport.write(_ANSWER % (len(_BODY), _BODY))
                self.transport.close()
            raise ValueError("headers_too_large")

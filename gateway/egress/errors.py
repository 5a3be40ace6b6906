"""Every error of the way out.

EgressError
  UrlRefused      the URL names something that is never fetched; nothing was sent
  EgressFailed    the other side did not answer as it must
  EgressBusy      too much was being fetched: our limit, never the URL's fault
"""


class EgressError(Exception):
    """`code` is stable; `detail` is one sentence that says which rule, which value and what is accepted."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class UrlRefused(EgressError):
    """Codes: url_malformed, url_scheme, url_userinfo, url_host, url_port, address_refused."""


class EgressFailed(EgressError):
    """Codes: name_unresolved, unreachable, timed_out, redirected, bad_status, too_large, broken_answer."""


class EgressBusy(EgressError):
    """Code: busy."""

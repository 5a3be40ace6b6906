"""Why an attempt to generate a video ended without one.

AttemptFailed
├── RequestRefused      the model can never serve this request: tell the customer, try nowhere else
├── BackendFailed       the model or its server reported an error
├── BackendUnreachable  no connection, or it broke
├── BackendStalled      connected, but silent for too long
├── ContractBroken      the server answered something that the contract forbids
└── DeadlineExceeded    the attempt took longer than it was given
"""

from typing import ClassVar


class AttemptFailed(Exception):
    """Base of the tree: `code` is stable, `retryable` says whether another server may succeed where this one did not."""

    code: ClassVar[str] = "attempt_failed"
    retryable: ClassVar[bool] = True

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestRefused(AttemptFailed):
    """The model said INVALID_REQUEST, or the request cannot be put into the contract's tensors."""

    code = "request_refused"
    retryable = False


class BackendFailed(AttemptFailed):
    """The model or the server around it reported an error."""

    code = "backend_failed"


class BackendUnreachable(AttemptFailed):
    """The server could not be reached or the connection broke."""

    code = "backend_unreachable"


class BackendStalled(AttemptFailed):
    """The server sent nothing for the time allowed between two messages."""

    code = "backend_stalled"


class ContractBroken(AttemptFailed):
    """The server answered against the contract; `rule` names the clause, as `check` prints it."""

    code = "contract_broken"

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class DeadlineExceeded(AttemptFailed):
    """The whole attempt took longer than its deadline."""

    code = "deadline_exceeded"


class SwapFailed(Exception):
    """A server did not load or unload a model; the sentence is its own reason."""

"""Ports for what runs on this machine."""

import errno
import random
import socket

from gateway.local.errors import LocalUnavailable

# Below the range from which Linux takes the ports of outgoing connections (32768–60999): a server that is restarted finds its
# port as it left it.
_OWN = range(20_000, 32_000)


def free_port(host: str = "127.0.0.1", *, not_one_of: frozenset[int] = frozenset()) -> int:
    """A port that nothing listens on now. Raises LocalUnavailable when there is none."""
    for port in random.sample(_OWN, 200):
        if port not in not_one_of and _refusal(host, port) is None:
            return port
    raise LocalUnavailable(f"no free port was found on {host} between {_OWN.start} and {_OWN.stop}")


def require_free(host: str, port: int) -> None:
    """Raises LocalUnavailable, saying why the port cannot be used and what to do."""
    refusal = _refusal(host, port)
    if refusal is None:
        return
    why = {
        errno.EADDRINUSE: "is used by another program; stop that, or choose another with --port (0 takes a free one)",
        errno.EACCES: "may not be used by this user; choose one above 1023 with --port",
        errno.EADDRNOTAVAIL: "cannot be used: this machine has no such address; choose another with --host",
    }
    raise LocalUnavailable(f"port {port} on {host} {why.get(refusal.errno or 0, f'cannot be used: {refusal.strerror}')}")


def _refusal(host: str, port: int) -> OSError | None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None

"""Change: what operators and the dispatcher want of a replica."""

from billing.kit.query import Conn
from gateway.errors import InvalidRequest, ReplicaConflict
from gateway.fleet.registry import sql
from gateway.fleet.registry.declare import WHO
from gateway.fleet.registry.model import GOALS, TRANSITIONS, SeenRow, Verb
from gateway.fleet.registry.read import read_replica


async def change(conn: Conn, name: str, verb: Verb, reason: str = "") -> SeenRow:
    """What an operator says; where it is so already, nothing changes. Returns the replica.

    Raises NotFound, InvalidRequest for a quarantine without a reason, ReplicaConflict where the state does not allow it.
    """
    before = await read_replica(conn, name)
    if verb == "quarantine":
        if not 0 < len(reason) <= 500:
            raise InvalidRequest("reason: a quarantine needs a reason of 1 to 500 characters", param="reason")
        await sql.QUARANTINE.maybe(conn, name, reason, "operator")
    elif verb == "release":
        await sql.RELEASE.maybe(conn, name, ["operator", "dispatcher"], None)
    else:
        if verb == "remove" and before.source != "api":
            raise ReplicaConflict(f"{name} is declared by {WHO[before.source]}; take it out there, or cordon or drain it here")
        await _move(conn, before, verb)
    return await read_replica(conn, name)


async def _move(conn: Conn, before: SeenRow, verb: Verb) -> None:
    goal = GOALS[verb]
    allowed = [state for state, goals in TRANSITIONS.items() if goal in goals and (state != "removed")]
    if before.state == goal or await sql.CHANGE_STATE.maybe(conn, before.name, goal, allowed):
        return
    raise ReplicaConflict(f"{before.name} is {before.state}: {verb} is for {', '.join(allowed)}")


async def quarantine(conn: Conn, name: str, reason: str) -> bool:
    """What the dispatcher does when a device misbehaves. False where it is in quarantine already, or gone."""
    return await sql.QUARANTINE.maybe(conn, name, reason[:500], "dispatcher") is not None


async def release_probed(conn: Conn, name: str, version: int) -> bool:
    """After a clean probe run of this version; what an operator set stays."""
    return await sql.RELEASE.maybe(conn, name, ["dispatcher"], version) is not None

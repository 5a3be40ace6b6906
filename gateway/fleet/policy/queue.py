"""The jobs that wait: a few bytes in columns for each, and at hand the next one by fairness and the next one by promise.

A queue holds the jobs of one class and one tier; within it each organization has a flow, first come first served. Fairness among
organizations is start-time fair queueing: a job's tag is where its organization's account stood when it was admitted, and the
account is charged at once. Removing a job from the middle of a flow only marks it; its place is freed when it would come up.
"""

from array import array
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from gateway.fleet.policy.demand import Floats, Integers

Flags = NDArray[np.bool_]

_GONE = 0xFFFF


class Organization:
    """`finish`: its account in units of work; `waiting[tier]`: units admitted and not started; `asked[tier]`: units asked
    for, forgotten exponentially, as of `asked_at`.
    """

    __slots__ = ("asked", "asked_at", "finish", "index", "name", "waiting", "weight")

    def __init__(self, index: int, name: str, weight: float) -> None:
        self.index, self.name, self.weight = index, name, weight
        self.finish = 0.0
        self.waiting = [0.0, 0.0, 0.0]
        self.asked, self.asked_at = [0.0, 0.0, 0.0], 0.0


class _Flow:
    """Rows of one organization in one queue, in the order they came."""

    __slots__ = ("key", "rows")

    def __init__(self, key: int) -> None:
        self.key = key
        self.rows: deque[int] = deque()


class Queues:
    """`one_flow`: one flow for all organizations, which makes a queue first come first served (for comparisons)."""

    def __init__(self, queues: int, *, one_flow: bool = False) -> None:
        self.ids: list[Hashable] = []
        self.seconds, self.work, self.tag = array("d"), array("f"), array("d")
        self.due, self.submitted = array("d"), array("d")
        self.queue, self.owner, self.promised = array("H"), array("I"), array("b")
        self._rows: dict[Hashable, int] = {}
        self._free: list[int] = []
        self._one_flow = one_flow
        self._flows: dict[int, _Flow] = {}
        self._fair: list[list[tuple[float, int, int]]] = [[] for _ in range(queues)]
        self._urgent: list[list[tuple[float, int, int]]] = [[] for _ in range(queues)]
        self.count = [0] * queues
        self.backlog_s = [0.0] * queues
        """Seconds of video that wait in each queue."""

    def __len__(self) -> int:
        return len(self._rows)

    def row_of(self, job: Hashable) -> int | None:
        return self._rows.get(job)

    def rows(self) -> Iterator[int]:
        """All that wait: each flow in its order, and between flows as they came."""
        flows = [[row for row in flow.rows if self.queue[row] != _GONE] for flow in self._flows.values()]
        heads = [(rows[0], number, 0) for number, rows in enumerate(flows)]
        heapify(heads)
        while heads:
            row, number, place = heads[0]
            yield row
            if place + 1 < len(flows[number]):
                heapreplace(heads, (flows[number][place + 1], number, place + 1))
            else:
                heappop(heads)

    def add(
        self,
        job: Hashable,
        queue: int,
        owner: int,
        seconds: float,
        work: float,
        tag: float,
        due: float,
        submitted: float,
        promised: bool,
    ) -> int:
        row = self._new_row(job)
        self.seconds[row], self.work[row], self.tag[row] = seconds, work, tag
        self.due[row], self.submitted[row] = due, submitted
        self.queue[row], self.owner[row], self.promised[row] = queue, owner, promised
        self._enter(row, front=False)
        return row

    def load(
        self,
        jobs: Sequence[Hashable],
        queue: Integers,
        owner: Integers,
        seconds: Floats,
        due: Floats,
        submitted: Floats,
        promised: Flags,
    ) -> None:
        """Many jobs at once, in the order they came, into empty queues; `weigh` must follow."""
        assert not self.ids, "jobs are loaded into empty queues"
        count = len(jobs)
        for column, values in (
            (self.seconds, seconds), (self.work, np.zeros(count)), (self.tag, np.zeros(count)), (self.due, due),
            (self.submitted, submitted), (self.queue, queue), (self.owner, owner), (self.promised, promised),
        ):  # fmt: skip
            column.frombytes(values.astype(column.typecode).tobytes())
        rows = list(range(count))
        self.ids, self._rows = list(jobs), dict(zip(jobs, rows, strict=True))
        if len(self._rows) != count:
            raise ValueError("a job is listed twice")
        keys = queue << 40 | (np.zeros_like(owner) if self._one_flow else owner)
        order = np.argsort(keys, kind="stable")
        ends = np.flatnonzero(np.diff(keys[order], append=-1)) + 1
        begin = 0
        for end in ends.tolist():
            members = order[begin:end].tolist()
            key = int(keys[members[0]])
            flow = self._flows[key] = _Flow(key)
            flow.rows.extend(map(rows.__getitem__, members))  # the very objects of the index: a job is counted once in memory
            begin = end
        self.count = np.bincount(queue, minlength=len(self.count)).tolist()
        self.backlog_s = np.bincount(queue, seconds, minlength=len(self.count)).tolist()

    def weigh(self, work: Floats, tag: Floats) -> None:
        """The work and the tag of every job that was loaded; now each flow's next job is announced."""
        self.work, self.tag = array("f", work.astype("f").tobytes()), array("d", tag.tobytes())
        for flow in self._flows.values():
            row = flow.rows[0]
            self._announce(flow, row, self.queue[row])

    def put_back(self, row: int, job: Hashable) -> None:
        """A job that was taken waits again, before everything of its organization; its row was kept."""
        self._rows[job] = row
        self._enter(row, front=True)

    def take(self, row: int) -> Hashable:
        """Removes a job that is the next of its flow; its row stays valid until `release` or `put_back`."""
        flow = self._flow_of(row)
        assert flow.rows[0] == row, "only the next job of a flow is taken"
        flow.rows.popleft()
        self._leave(row)
        self._lift(flow, self.queue[row])
        return self.ids[row]

    def withdraw(self, row: int) -> None:
        """As `take`, for the last job of a flow, which has just been added."""
        flow = self._flow_of(row)
        assert flow.rows[-1] == row, "it was just added"
        flow.rows.pop()
        self._leave(row)
        if not flow.rows:
            del self._flows[flow.key]

    def remove(self, row: int) -> None:
        """Removes a job wherever it stands in its flow."""
        flow, queue = self._flow_of(row), self.queue[row]
        self._leave(row)
        self.queue[row] = _GONE
        if flow.rows[0] == row:
            self._lift(flow, queue)

    def release(self, row: int) -> None:
        """The row of a job that was taken may be used again."""
        self.ids[row] = None
        self._free.append(row)

    def next_fair(self, queue: int) -> int:
        """The row with the smallest tag, -1 when the queue is empty."""
        heap = self._fair[queue]
        while heap:
            tag, row, key = heap[0]
            flow = self._flows.get(key)
            if flow is not None and flow.rows[0] == row and self.tag[row] == tag:
                return row
            heappop(heap)
        return -1

    def next_due(self, queue: int) -> int:
        """The row with the earliest promise among the next jobs of all organizations, -1 when the queue is empty."""
        heap = self._urgent[queue]
        while heap:
            due, row, key = heap[0]
            flow = self._flows.get(key)
            if flow is not None and flow.rows[0] == row and self.due[row] == due:
                return row
            heappop(heap)
        return -1

    def first(self, queue: int, count: int) -> list[int]:
        """Rows of next jobs: those of about `count` organizations with the earliest promises, and of as many with the smallest
        tags.
        """
        by_due, by_tag = self._first(self._urgent[queue], self.due, count), self._first(self._fair[queue], self.tag, count)
        return list(dict.fromkeys((*by_due, *by_tag)))

    def behind(self, row: int) -> Iterator[int]:
        """The other jobs of the flow whose next job this is, in their order."""
        return (other for other in islice(self._flow_of(row).rows, 1, None) if self.queue[other] != _GONE)

    def _first(self, heap: list[tuple[float, int, int]], values: "array[float]", count: int) -> Iterator[int]:
        """In the order of a heap, which is left as it is; of what has gone meanwhile it passes over as many at most."""
        todo = [(heap[0], 0)] if heap else []
        for _ in range(2 * count):
            if not todo or not count:
                return
            (value, row, key), node = heappop(todo)
            flow = self._flows.get(key)
            if flow is not None and flow.rows[0] == row and values[row] == value:
                count -= 1
                yield row
            for child in (2 * node + 1, 2 * node + 2):
                if child < len(heap):
                    heappush(todo, (heap[child], child))

    def _new_row(self, job: Hashable) -> int:
        if self._free:
            row = self._free.pop()
            self.ids[row] = job
        else:
            row = len(self.ids)
            self.ids.append(job)
            for column in (self.seconds, self.work, self.tag, self.due, self.submitted):
                column.append(0.0)
            self.queue.append(0)
            self.owner.append(0)
            self.promised.append(0)
        self._rows[job] = row
        return row

    def _enter(self, row: int, *, front: bool) -> None:
        queue = self.queue[row]
        key = self._key(row)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key)
        self.count[queue] += 1
        self.backlog_s[queue] += self.seconds[row]
        if front:
            flow.rows.appendleft(row)
        else:
            flow.rows.append(row)
        if flow.rows[0] == row:
            self._announce(flow, row, queue)

    def _leave(self, row: int) -> None:
        queue = self.queue[row]
        del self._rows[self.ids[row]]
        self.count[queue] -= 1
        self.backlog_s[queue] = self.backlog_s[queue] - self.seconds[row] if self.count[queue] else 0.0

    def _lift(self, flow: _Flow, queue: int) -> None:
        """Announces the flow's next job; frees the rows of those that were removed."""
        rows = flow.rows
        while rows and self.queue[rows[0]] == _GONE:
            self.release(rows.popleft())
        if rows:
            self._announce(flow, rows[0], queue)
        else:
            del self._flows[flow.key]

    def _announce(self, flow: _Flow, row: int, queue: int) -> None:
        heappush(self._fair[queue], (self.tag[row], row, flow.key))
        heappush(self._urgent[queue], (self.due[row], row, flow.key))

    def _key(self, row: int) -> int:
        return self.queue[row] << 40 | (0 if self._one_flow else self.owner[row])

    def _flow_of(self, row: int) -> _Flow:
        return self._flows[self._key(row)]

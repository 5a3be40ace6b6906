"""What can be told: each state that a job comes into, and whatever happens to money and quotas."""

from typing import Literal, TypeAlias

from billing.plans.events import EventKind

JobEvent: TypeAlias = Literal[
    "job.queued", "job.running", "job.cancelling", "job.succeeded", "job.failed", "job.cancelled", "job.expired"
]
EventName: TypeAlias = Literal[JobEvent, EventKind]

OPENAI_EVENTS: frozenset[EventName] = frozenset({"job.succeeded", "job.failed", "job.cancelled", "job.expired"})
"""All that OpenAI's form can say."""

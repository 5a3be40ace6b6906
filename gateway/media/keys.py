"""Where objects lie in the store. The attempt number in an artifact's key is the fence: a late attempt that was
replaced writes beside its successor, never over it.
"""

import re

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")


def artifact_key(org_id: str, job_id: str, attempt: int, name: str) -> str:
    """Where attempt `attempt` (from 1) of a job stores the file `name`."""
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    return f"{job_prefix(org_id, job_id)}/{attempt}/{_segment(name)}"


def input_key(org_id: str, job_id: str, index: int) -> str:
    """Where the job's input number `index` (from 0) is stored."""
    if index < 0:
        raise ValueError(f"inputs count from 0, not {index}")
    return f"{job_prefix(org_id, job_id)}/inputs/{index}"


PENDING = "pending"
"""The folder of notes about requests whose inputs were stored and that are not known to have become jobs."""


def pending_key(org_id: str, job_id: str) -> str:
    """The note that inputs of this request may be stored; it is written before them and removed once that is decided."""
    return f"{PENDING}/{_segment(org_id)}/{_segment(job_id)}"


def job_prefix(org_id: str, job_id: str) -> str:
    """The folder of everything a job owns, for `MediaStore.delete_prefix`."""
    return f"orgs/{_segment(org_id)}/jobs/{_segment(job_id)}"


def check_key(key: str) -> None:
    """Raises ValueError unless every part of `key` is plain: no key can name a file outside the store's folder."""
    for segment in key.split("/"):
        _segment(segment)


def _segment(text: str) -> str:
    if not _SEGMENT.fullmatch(text):
        raise ValueError(f"{text!r} cannot be part of an object key")
    return text

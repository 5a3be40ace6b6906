"""Discover: pods of a Kubernetes cluster that are replicas, by label, from the cluster's own API.

A pod with the labels of `kubernetes_selector` is a Triton server. Its annotations say the rest:

    tallylight.dev/models: wan2.2-t2v-a14b,ltx-video-2b    (required)
    tallylight.dev/accelerator: h100                       (required)
    tallylight.dev/port: "8001"                            gRPC
    tallylight.dev/slots: "1"
    tallylight.dev/loads: "true"                           Triton runs in explicit mode
    tallylight.dev/models-max: "1"
    tallylight.dev/price-micro-usd-per-hour: "2700000"

A pod that is going away, or that is gone, is removed: it gets no more jobs, and those that run may end.
"""

import ssl
from pathlib import Path
from typing import Any

import httpx
import msgspec
import structlog

from gateway.settings import ReplicaSettings, Settings

log = structlog.get_logger(__name__)

PREFIX = "tallylight.dev/"
_PAGE = 500
_PAGES_MAX = 100
_FIELDS = {
    "models": "models",
    "accelerator": "accelerator",
    "slots": "slots",
    "loads": "loads",
    "models-max": "models_max",
    "price-micro-usd-per-hour": "price_micro_usd_per_hour",
}


class ClusterUnreadable(Exception):
    """The cluster did not say what pods there are; the sentence says why."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None
    continue_: str = msgspec.field(default="", name="continue")


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    pod_ip: str = msgspec.field(default="", name="podIP")
    phase: str = ""


class Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    status: _Status = _Status()


class _Pods(msgspec.Struct, frozen=True):
    items: tuple[Pod, ...]
    metadata: _Metadata = _Metadata()


class Cluster:
    """The cluster that this process runs in."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._account = settings, Path(settings.kubernetes_account_dir)

    async def replicas(self) -> list[ReplicaSettings]:
        """What the pods declare; a pod that declares nonsense is left out and said. Raises ClusterUnreadable."""
        found: list[ReplicaSettings] = []
        for pod in await self._pods():
            going = pod.metadata.deletion_timestamp is not None or pod.status.phase in ("Succeeded", "Failed")
            if going or not pod.status.pod_ip:
                continue
            try:
                found.append(replica_of(pod))
            except ValueError as error:
                log.warning("pod_refused", pod=pod.metadata.name, reason=str(error))
        return found

    async def _pods(self) -> list[Pod]:
        pods: list[Pod] = []
        query = {"labelSelector": self._settings.kubernetes_selector, "limit": str(_PAGE)}
        try:
            # Both are read again each time: the cluster replaces the token within the hour.
            token = (self._account / "token").read_text(encoding="ascii").strip()
            namespace = self._settings.kubernetes_namespace or (self._account / "namespace").read_text(encoding="ascii").strip()
            url = f"{self._settings.kubernetes_url}/api/v1/namespaces/{namespace}/pods"
            headers = {"authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(timeout=10.0, trust_env=False, verify=self._authority()) as client:
                for _ in range(_PAGES_MAX):
                    answer = await client.get(url, params=query, headers=headers)
                    page = msgspec.json.decode(answer.raise_for_status().content, type=_Pods)
                    pods += page.items
                    if not page.metadata.continue_:
                        return pods
                    query["continue"] = page.metadata.continue_
        except (OSError, httpx.HTTPError, msgspec.DecodeError) as error:
            raise ClusterUnreadable(f"{self._settings.kubernetes_url}: {error or type(error).__name__}") from error
        raise ClusterUnreadable(f"{self._settings.kubernetes_url}: more than {_PAGE * _PAGES_MAX} pods")

    def _authority(self) -> ssl.SSLContext:
        authority = self._account / "ca.crt"
        return ssl.create_default_context(cafile=str(authority) if authority.exists() else None)


def replica_of(pod: Pod) -> ReplicaSettings:
    """Raises ValueError with a sentence about the annotation that is missing or makes no sense."""
    annotations = {key.removeprefix(PREFIX): value for key, value in pod.metadata.annotations.items() if key.startswith(PREFIX)}
    if missing := {"models", "accelerator"} - annotations.keys():
        raise ValueError(f"the annotation {PREFIX}{min(missing)} is missing")
    if unknown := annotations.keys() - _FIELDS.keys() - {"port"}:
        raise ValueError(f"{PREFIX}{min(unknown)} is no annotation of ours")
    ip, port = pod.status.pod_ip, annotations.pop("port", "8001")
    host = f"[{ip}]" if ":" in ip else ip
    fields: dict[str, Any] = {_FIELDS[key]: value for key, value in annotations.items()}
    fields["models"] = [model.strip() for model in annotations["models"].split(",")]
    try:
        return msgspec.convert(
            {"name": pod.metadata.name, "url": f"{host}:{port}", "labels": pod.metadata.labels, **fields},
            ReplicaSettings,
            strict=False,
        )
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error

"""Pods that are replicas, from a small server that speaks the routes of a Kubernetes API."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.fleet.discover import Cluster, ClusterUnreadable
from gateway.settings import ReplicaSettings, Settings

SELECTOR = "app=triton,tier!=test"


class Api:
    """What the cluster has, and what it was asked."""

    def __init__(self) -> None:
        self.pods: list[Any] = []
        self.page, self.status = 500, 200
        self.asked: list[tuple[str, str, str | None]] = []


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[Api, Cluster]]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            state.asked.append((url.path, query["labelSelector"], self.headers["authorization"]))
            start = int(query.get("continue", "0"))
            page = state.pods[start : start + state.page]
            more = str(start + state.page) if start + state.page < len(state.pods) else ""
            body = json.dumps({"kind": "PodList", "metadata": {"continue": more, "resourceVersion": "1"}, "items": page}).encode()
            self.send_response(state.status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("a token\n")
    (tmp_path / "namespace").write_text("video")
    settings = Settings(
        kubernetes_selector=SELECTOR,
        kubernetes_url=f"http://127.0.0.1:{server.server_port}",
        kubernetes_account_dir=str(tmp_path),
    )
    yield state, Cluster(settings)
    server.shutdown()
    server.server_close()


def pod(name: str, *, ip: str = "10.0.0.1", phase: str = "Running", **annotations: str) -> dict[str, Any]:
    given = {"models": "a, b", "accelerator": "h100"} | {key.replace("_", "-"): value for key, value in annotations.items()}
    return {
        "metadata": {
            "name": name, "labels": {"app": "triton"}, "uid": "1",
            "annotations": {f"tallylight.dev/{key}": value for key, value in given.items()} | {"other/thing": "x"},
        },
        "spec": {"nodeName": "n"},
        "status": {"podIP": ip, "phase": phase, "hostIP": "10.0.0.9"},
    }  # fmt: skip


async def test_pods_say_what_they_are(api: tuple[Api, Cluster]) -> None:
    state, cluster = api
    full = {"slots": "2", "port": "9000", "loads": "true", "models_max": "1", "price_micro_usd_per_hour": "5"}
    state.pods, state.page = [pod("p1"), pod("p2", ip="fd00::1", **full), pod("p3", ip="")], 1
    assert await cluster.replicas() == [
        ReplicaSettings("p1", "10.0.0.1:8001", ("a", "b"), accelerator="h100", labels={"app": "triton"}),
        ReplicaSettings("p2", "[fd00::1]:9000", ("a", "b"), 2, "h100", 5, True, 1, {"app": "triton"}),
    ]
    assert state.asked == [("/api/v1/namespaces/video/pods", SELECTOR, "Bearer a token")] * 3  # in pages


async def test_a_pod_that_goes_or_makes_no_sense_is_left_out(api: tuple[Api, Cluster]) -> None:
    state, cluster = api
    going = pod("going")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bare = pod("bare")
    bare["metadata"]["annotations"] = None
    bare["metadata"].pop("annotations")
    state.pods = [going, pod("done", phase="Succeeded"), bare, pod("typo", slot="2"), pod("none", slots="0"), pod("fine")]
    assert [one.name for one in await cluster.replicas()] == ["fine"]


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_a_cluster_that_does_not_answer_says_nothing(api: tuple[Api, Cluster], status: int) -> None:
    state, cluster = api
    state.status = status
    with pytest.raises(ClusterUnreadable, match=str(status)):
        await cluster.replicas()


async def test_a_process_outside_a_cluster_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnreadable, match="token"):
        await Cluster(Settings(kubernetes_selector="x", kubernetes_account_dir=str(tmp_path))).replicas()

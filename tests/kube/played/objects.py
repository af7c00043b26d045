"""The objects of some namespaces as played controllers read and write them, over a real API server."""

import json
import secrets
from datetime import UTC, datetime
from typing import Any

from tests.kube.api_server import RealApiServer
from tests.kube.lab import MERGE
from tests.kube.played.faults import Faults

Json = dict[str, Any]

RAY, CORE, APPS = "/apis/ray.io/v1", "/api/v1", "/apis/apps/v1"
# What is looked at, and what is deleted with a namespace or an owner: its path below a namespace
KINDS = {
    "RayJob": f"{RAY}/rayjobs",
    "RayCluster": f"{RAY}/rayclusters",
    "StatefulSet": f"{APPS}/statefulsets",
    "Pod": f"{CORE}/pods",
    "Service": f"{CORE}/services",
    "Secret": f"{CORE}/secrets",
    "PersistentVolumeClaim": f"{CORE}/persistentvolumeclaims",
    "ResourceQuota": f"{CORE}/resourcequotas",
    "ServiceAccount": f"{CORE}/serviceaccounts",
    "ConfigMap": f"{CORE}/configmaps",
    "Role": "/apis/rbac.authorization.k8s.io/v1/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "CronJob": "/apis/batch/v1/cronjobs",
}
OWNED = ("RayCluster", "Pod", "Service", "Secret")  # Kinds that have owners here
CARED_FOR = (*OWNED, "RayJob", "StatefulSet", "PersistentVolumeClaim", "ResourceQuota")


class Objects:
    """The namespaces whose names begin with `prefix`; `now` is what they held when it was last looked."""

    def __init__(self, api: RealApiServer, prefix: str) -> None:
        self.api, self.prefix = api, prefix
        self.faults = Faults()
        self.now: dict[str, list[Json]] = {}

    def look(self) -> None:
        """Read everything that controllers care for."""
        self.now = {kind: self.listed(kind) for kind in CARED_FOR}

    def listed(self, kind: str, namespace: str = "") -> list[Json]:
        group, _, plural = KINDS[kind].rpartition("/")
        path = f"{group}/namespaces/{namespace}/{plural}" if namespace else KINDS[kind]
        found = self.api.get(path)
        ours = [each for each in found["items"] if each["metadata"]["namespace"].startswith(self.prefix)]
        return [{**each, "kind": kind, "apiVersion": found["apiVersion"]} for each in ours]

    def find(self, kind: str, beside: Json, name: str) -> Json | None:
        """An object of the same namespace."""
        same = [each for each in self.now[kind] if (space_of(each), name_of(each)) == (space_of(beside), name)]
        return same[0] if same else None

    def create(self, beside: Json, made: Json, *, refusable: bool = False) -> str:
        group, _, plural = KINDS[made["kind"]].rpartition("/")
        said = self.api.send("POST", f"{group}/namespaces/{space_of(beside)}/{plural}", made)
        if said and not refusable and "AlreadyExists" not in said and "being terminated" not in said:
            raise AssertionError(said)
        return str(json.loads(said)["message"]) if said else ""

    def delete(self, found: Json) -> None:
        if "deletionTimestamp" not in found["metadata"]:
            self.do("DELETE", path_to(found), None)

    def patch(self, found: Json, body: Json) -> None:
        self.do("PATCH", path_to(found), body)

    def status(self, found: Json, status: Json) -> None:
        self.do("PATCH", f"{path_to(found)}/status", {"status": status})

    def do(self, method: str, path: str, body: Json | None) -> None:
        """A request; what was deleted meanwhile, or made, is no error."""
        content = MERGE if method == "PATCH" else "application/json"
        said = self.api.send(method, path, body, content)
        if said and json.loads(said)["reason"] not in ("NotFound", "AlreadyExists", "Conflict"):
            raise AssertionError(f"{method} {path}: {said}")


def suffix() -> str:
    return secrets.token_hex(3)


def path_to(found: Json) -> str:
    group, _, plural = KINDS[found["kind"]].rpartition("/")
    return f"{group}/namespaces/{space_of(found)}/{plural}/{name_of(found)}"


def name_of(found: Json) -> str:
    return str(found["metadata"]["name"])


def space_of(found: Json) -> str:
    return str(found["metadata"]["namespace"])


def labels_of(found: Json) -> dict[str, str]:
    return found["metadata"].get("labels") or {}


def phase_of(found: Json) -> str:
    return str(found.get("status", {}).get("phase", ""))


def is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def owner_of(found: Json) -> Json:
    reference = {"apiVersion": found["apiVersion"], "kind": found["kind"], "name": name_of(found)}
    return {**reference, "uid": found["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

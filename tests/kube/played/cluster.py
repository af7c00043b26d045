"""A played cluster over a real API server, whose controllers go on by themselves.

Those of `tests.kube.lab` follow a test's script; these do what namespaces, quotas, garbage, a StatefulSet and its
volume, KubeRay, the scheduler and a kubelet need for the scenarios of `tests.cluster`. Images are not pulled: a pod of
Ray is only said to run, its job is a `PlayedDriver`, and any other pod's command runs as a process of this machine, on
a real S3 server.
"""

import contextlib
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.kube.api_server import RealApiServer
from tests.kube.kubelet import Kubelet
from tests.kube.played.driver import Bucket
from tests.kube.played.faults import Faults
from tests.kube.played.kuberay import KubeRay
from tests.kube.played.nodes import Nodes
from tests.kube.played.objects import CORE, KINDS, OWNED, Json, Objects, is_ready, owner_of, phase_of, space_of

TICK_S = 0.1


class PlayedCluster:
    """The controllers; `tick` is a step of all of them, `running` has a thread do it."""

    def __init__(
        self, api: RealApiServer, kubelet: Kubelet, prefix: str, store: Mapping[str, str], folder: Path
    ) -> None:
        self.api, self._store = api, store
        self._objects = Objects(api, prefix)
        self._nodes = Nodes(self._objects, kubelet, store, folder)
        self._kuberay = KubeRay(self._objects, self._nodes)
        self.errors: list[str] = []
        self._known: set[str] = set()  # Uids of namespaces that have their account

    def misbehave(self, faults: Faults) -> None:
        """Do so from now on."""
        self._objects.faults = faults

    @contextlib.contextmanager
    def running(self) -> Iterator["PlayedCluster"]:
        """With nodes, and a thread that has all of them go on."""
        self._nodes.join()
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(TICK_S):
                try:
                    self.tick()
                except Exception:  # Told at the end; a cluster whose controllers die would tell less
                    self.errors.append(traceback.format_exc())

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
            self._nodes.close()

    def tick(self) -> None:
        """One step of every controller."""
        self._objects.look()
        for namespace in self.api.get(f"{CORE}/namespaces")["items"]:
            if namespace["metadata"]["name"].startswith(self._objects.prefix):
                self._namespace(namespace)
        for quota in self._objects.now["ResourceQuota"]:
            self._quota(quota)
        for claim in self._objects.now["PersistentVolumeClaim"]:
            self._claim(claim)
        for stateful in self._objects.now["StatefulSet"]:
            self._stateful_set(stateful)
        self._kuberay.tick()
        self._collect_garbage()
        self._nodes.tick()

    def _namespace(self, namespace: Json) -> None:
        name, uid = namespace["metadata"]["name"], namespace["metadata"]["uid"]
        if "deletionTimestamp" in namespace["metadata"]:
            left = [found for kind in KINDS for found in self._objects.listed(kind, name)]
            for found in left:
                self._objects.delete(found)
            if not left:
                path = f"{CORE}/namespaces/{name}"
                self._objects.do("PUT", f"{path}/finalize", {**namespace, "spec": {"finalizers": []}})
        elif uid not in self._known:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            self._objects.do("POST", f"{CORE}/namespaces/{name}/serviceaccounts", account)
            self._known.add(uid)

    def _quota(self, quota: Json) -> None:
        here = [pod for pod in self._objects.now["Pod"] if space_of(pod) == space_of(quota)]
        used = {"pods": str(len([pod for pod in here if phase_of(pod) not in ("Succeeded", "Failed")]))}
        if quota.get("status", {}) != (status := {"hard": quota["spec"]["hard"], "used": used}):
            self._objects.status(quota, status)

    def _claim(self, claim: Json) -> None:
        if "deletionTimestamp" in claim["metadata"]:
            if not self._objects.faults.claims_stay:
                Bucket("histoseg", "", self._store).empty()  # What is on a volume goes with it
                self._objects.patch(claim, {"metadata": {"finalizers": None}})
        elif phase_of(claim) != "Bound":
            self._objects.patch(claim, {"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}})
            self._objects.status(claim, {"phase": "Bound"})

    def _stateful_set(self, stateful: Json) -> None:
        metadata, spec = stateful["metadata"], stateful["spec"]
        name = f"{metadata['name']}-0"
        (claim,) = spec["volumeClaimTemplates"]
        labels = spec["selector"]["matchLabels"]
        wanted = {**claim, "metadata": {"name": f"{claim['metadata']['name']}-{name}", "labels": labels}}
        if not self._objects.find("PersistentVolumeClaim", stateful, wanted["metadata"]["name"]):
            self._objects.create(stateful, wanted)
        pod = self._objects.find("Pod", stateful, name)
        if pod is None:
            made = {**spec["template"], "apiVersion": "v1", "kind": "Pod"}
            made["metadata"] = {**made["metadata"], "name": name, "ownerReferences": [owner_of(stateful)]}
            volume = {
                "name": claim["metadata"]["name"],
                "persistentVolumeClaim": {"claimName": wanted["metadata"]["name"]},
            }
            made["spec"] = {**made["spec"], "volumes": [*made["spec"]["volumes"], volume]}
            self._objects.create(stateful, made)
        ready = int(pod is not None and is_ready(pod))
        counts = dict.fromkeys(("readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"), ready)
        revision = {"currentRevision": "1", "updateRevision": "1", "observedGeneration": metadata["generation"]}
        if (status := {"replicas": int(pod is not None), **counts, **revision}) != stateful.get("status"):
            self._objects.status(stateful, status)

    def _collect_garbage(self) -> None:
        """Delete what has lost its owners, and let go an owner that waits until what it owns is gone."""
        now = self._objects.now
        uids = {found["metadata"]["uid"] for kind in now for found in now[kind]}
        goers = [each for each in [*now["RayJob"], *now["RayCluster"]] if "foregroundDeletion" in finalizers(each)]
        going = {each["metadata"]["uid"] for each in goers}
        owned = [found for kind in OWNED if kind not in self._objects.faults.kept_kinds for found in now[kind]]
        for found in owned:
            if owners(found) and (not owners(found) & uids or owners(found) & going):
                self._objects.delete(found)
        for each in goers:
            if not any(each["metadata"]["uid"] in owners(found) for found in owned):
                kept = [name for name in finalizers(each) if name != "foregroundDeletion"]
                self._objects.patch(each, {"metadata": {"finalizers": kept or None}})


def owners(found: Json) -> set[str]:
    return {owner["uid"] for owner in found["metadata"].get("ownerReferences", [])}


def finalizers(found: Json) -> list[str]:
    return found["metadata"].get("finalizers") or []

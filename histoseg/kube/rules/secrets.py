"""What we ask of every pod beside Pod Security: no secret in plain sight of whoever may read a pod or a RayJob."""

import re
from collections.abc import Iterator
from typing import Any

from histoseg.kube.rules.manifest import Cluster, Finding, Pod

# By the last word of a variable's name: MAX_TOKENS, TOKEN_PATH and SECRET_NAME are none.
SECRET = re.compile(
    r"(SECRETS?|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|APIKEY|(^|[_.-])KEY|ACCESS_KEY_ID)$", re.IGNORECASE
)
# Google's libraries read a path there.
NOT_SECRET = re.compile(r"PUBLIC_KEY$|^GOOGLE_APPLICATION_CREDENTIALS$", re.IGNORECASE)


def hides_secrets(pod: Pod) -> Iterator[Finding]:
    """A literal in a container's environment."""
    for path, container in pod.containers():
        yield from _literals(path, container.get("env") or [])


def autoscaler_hides_secrets(cluster: Cluster) -> Iterator[Finding]:
    """The same in the autoscaler's."""
    if cluster.autoscaling:
        options = cluster.spec.get("autoscalerOptions") or {}
        yield from _literals(f"{cluster.path}.autoscalerOptions", options.get("env") or [])


def _literals(path: str, env: list[Any]) -> Iterator[Finding]:
    for entry in env:
        name = entry.get("name", "")
        if entry.get("value") and SECRET.search(name) and not NOT_SECRET.search(name):
            remedy = "take it from a Secret by valueFrom.secretKeyRef"
            yield Finding(path=f"{path}.env[{name}]", found="a literal", remedy=remedy)


RULES = (hides_secrets,)
CLUSTER_RULES = (autoscaler_hides_secrets,)

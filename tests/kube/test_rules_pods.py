"""The rules of Pod Security; every value is as its page allows or forbids it."""

import pytest

from tests.kube.broken import (
    AUTOSCALED,
    CLUSTER,
    HEAD_POD,
    SHOWN_CONTAINER,
    SHOWN_WORKER,
    WORKER,
    WORKER_POD,
    cases,
    names,
    told,
)
from tests.kube.example import GONE, pod, ray_job, security, spoilt

SHOWN_POD = f"{SHOWN_WORKER}.template.spec"
CONTAINER = f"{WORKER_POD}.containers.0"
FORBIDDEN = "Pod Security forbids it; leave it out"
PROFILE_OF = "container.apparmor.security.beta.kubernetes.io/ray-worker"
ANNOTATION = f"{WORKER}.template.metadata.annotations"
SHOWN_ANNOTATION = f"{SHOWN_WORKER}.template.metadata.annotations[{PROFILE_OF}]"

JOBS = {
    "keeps_off_the_host": [
        ({f"{WORKER_POD}.hostNetwork": True}, f"{SHOWN_POD}.hostNetwork is true; {FORBIDDEN}"),
        ({f"{WORKER_POD}.hostIPC": True}, f"{SHOWN_POD}.hostIPC is true; {FORBIDDEN}"),
        (
            {f"{CONTAINER}.ports": [{"containerPort": 8080, "hostPort": 80}]},
            f"{SHOWN_CONTAINER}.ports[0].hostPort is 80; {FORBIDDEN}",
        ),
    ],
    "mounts_what_it_may": [
        (
            {f"{WORKER_POD}.volumes.1": {"name": "raw", "hostPath": {"path": "/data"}}},
            f'{SHOWN_POD}.volumes[raw] is "hostPath"; Pod Security allows configMap, csi, '
            "downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected, secret",
        ),
    ],
    "asks_nobody_else": [
        (
            {f"{CONTAINER}.livenessProbe": {"httpGet": {"port": 80, "host": "10.0.0.1"}}},
            f'{SHOWN_CONTAINER}.livenessProbe.httpGet.host is "10.0.0.1"; {FORBIDDEN}',
        ),
        (
            {f"{CONTAINER}.lifecycle": {"preStop": {"tcpSocket": {"port": 80, "host": "node"}}}},
            f'{SHOWN_CONTAINER}.lifecycle.preStop.tcpSocket.host is "node"; {FORBIDDEN}',
        ),
    ],
    "says_what_it_may": [
        (
            {f"{CONTAINER}.securityContext.privileged": True},
            f"{SHOWN_CONTAINER}.securityContext.privileged is true; {FORBIDDEN}",
        ),
        (  # The pod's is refused as well where its only container overrides it.
            {f"{WORKER_POD}.securityContext.runAsUser": 0, f"{CONTAINER}.securityContext.runAsUser": 1000},
            f"{SHOWN_POD}.securityContext.runAsUser is 0; Pod Security forbids root",
        ),
        (
            {f"{CONTAINER}.securityContext.runAsUser": 0},
            f"{SHOWN_CONTAINER}.securityContext.runAsUser is 0; Pod Security forbids root",
        ),
        (
            {f"{CONTAINER}.securityContext.seLinuxOptions": {"type": "spc_t"}},
            f'{SHOWN_CONTAINER}.securityContext.seLinuxOptions.type is "spc_t"; '
            "Pod Security allows container_t, container_init_t, container_kvm_t, container_engine_t",
        ),
    ],
    "is_confined": [
        (
            {f"{WORKER_POD}.securityContext.runAsNonRoot": GONE},
            f"{SHOWN_CONTAINER}.securityContext.runAsNonRoot is missing; Pod Security needs true, here or in the pod",
        ),
        (
            {f"{WORKER_POD}.securityContext.seccompProfile": GONE},
            f"{SHOWN_CONTAINER}.securityContext.seccompProfile.type is missing; "
            "Pod Security needs RuntimeDefault, here or in the pod",
        ),
    ],
    "has_no_privileges": [
        (
            {f"{CONTAINER}.securityContext.allowPrivilegeEscalation": GONE},
            f"{SHOWN_CONTAINER}.securityContext.allowPrivilegeEscalation is missing; Pod Security needs false",
        ),
        (
            {"spec.submitterPodTemplate.spec.containers.0.securityContext.capabilities": {"drop": ["NET_RAW"]}},
            "spec.submitterPodTemplate.spec.containers[0].securityContext.capabilities.drop is "
            '["NET_RAW"]; Pod Security needs [ALL]',
        ),
        (
            {f"{CONTAINER}.securityContext.capabilities.add": ["SYS_PTRACE"]},
            f'{SHOWN_CONTAINER}.securityContext.capabilities.add is ["SYS_PTRACE"]; Pod Security forbids it',
        ),
    ],
    "keeps_app_armor": [
        (
            {ANNOTATION: {PROFILE_OF: "unconfined"}},
            f'{SHOWN_ANNOTATION} is "unconfined"; Pod Security allows runtime/default, localhost/…',
        ),
    ],
    "sets_safe_sysctls": [
        (
            {f"{WORKER_POD}.securityContext.sysctls": [{"name": "kernel.msgmax", "value": "65536"}]},
            f'{SHOWN_POD}.securityContext.sysctls[0].name is "kernel.msgmax"; Pod Security allows '
            "kernel.shm_rmid_forced, net.ipv4.ip_local_port_range, net.ipv4.ip_local_reserved_ports, "
            "net.ipv4.ip_unprivileged_port_start, net.ipv4.ping_group_range, net.ipv4.tcp_fin_timeout, "
            "net.ipv4.tcp_keepalive_intvl, net.ipv4.tcp_keepalive_probes, net.ipv4.tcp_keepalive_time, "
            "net.ipv4.tcp_syncookies",
        ),
    ],
    "autoscaler_is_restricted": [
        (
            {**AUTOSCALED, f"{CLUSTER}.autoscalerOptions.securityContext.capabilities": GONE},
            f"{CLUSTER}.autoscalerOptions.securityContext.capabilities.drop is missing; Pod Security needs [ALL]",
        ),
        (
            {**AUTOSCALED, f"{CLUSTER}.autoscalerOptions.securityContext.procMount": "Unmasked"},
            f'{CLUSTER}.autoscalerOptions.securityContext.procMount is "Unmasked"; Pod Security allows Default',
        ),
        (
            {
                **AUTOSCALED,
                f"{HEAD_POD}.securityContext.runAsNonRoot": GONE,
                f"{HEAD_POD}.containers.0.securityContext.runAsNonRoot": True,
            },
            f"{CLUSTER}.autoscalerOptions.securityContext.runAsNonRoot is missing; "
            "Pod Security needs true, here or in the pod",
        ),
    ],
}
# Of a security context, the pod's or a container's: what is allowed, and what is not.
BOTH = {
    "runAsNonRoot": ([True], [False]),
    "runAsUser": ([1, 1000], [0]),
    "seccompProfile.type": (["RuntimeDefault", "Localhost"], ["Unconfined"]),
    "appArmorProfile.type": (["RuntimeDefault", "Localhost"], ["Unconfined"]),
    "seLinuxOptions.type": (
        ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"],
        ["spc_t", "container_logreader_t"],
    ),
    "seLinuxOptions.user": ([""], ["system_u"]),
    "seLinuxOptions.role": ([""], ["system_r"]),
    "seLinuxOptions.level": (["s0:c123,c456"], []),
    "windowsOptions.hostProcess": ([False], [True]),
}
OF_A_CONTAINER = {
    "privileged": ([False], [True]),
    "procMount": (["Default"], ["Unmasked"]),
    "allowPrivilegeEscalation": ([False], [True]),
    "capabilities": (
        [{"drop": ["ALL"]}, {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}],
        [{"drop": ["all"]}, {"drop": []}, {"drop": ["ALL"], "add": ["CHOWN"]}],
    ),
}
PLACES = {WORKER_POD: f"{SHOWN_POD}.", CONTAINER: f"{SHOWN_CONTAINER}."}


def values(good):
    """(place, field, value) of all that is allowed, or is not."""
    tables = {WORKER_POD: BOTH, CONTAINER: BOTH | OF_A_CONTAINER}
    return [
        (place, field, value)
        for place, table in tables.items()
        for field, (allowed, forbidden) in table.items()
        for value in (allowed if good else forbidden)
    ]


def saying(place, field, value):
    return told(spoilt(ray_job(), {f"{place}.securityContext.{field}": value}))


@pytest.mark.parametrize(("edits", "line"), cases(JOBS))
def test_a_job_that_breaks_one_rule(edits, line):
    assert told(spoilt(ray_job(), edits)) == [line]


def test_every_rule_is_broken_by_some_case():
    from histoseg.kube.rules import pods

    assert names(pods.RULES, pods.CLUSTER_RULES) == {*JOBS}


@pytest.mark.parametrize(("place", "field", "value"), values(good=True))
def test_a_context_may_say(place, field, value):
    assert saying(place, field, value) == []


@pytest.mark.parametrize(("place", "field", "value"), values(good=False))
def test_a_context_may_not_say(place, field, value):
    (line,) = saying(place, field, value)
    assert line.startswith(f"{PLACES[place]}securityContext.{field}")


@pytest.mark.parametrize("kind", ["initContainers", "containers", "ephemeralContainers"])
def test_containers_of_every_kind_are_looked_at(kind):
    other = {"name": "other", "securityContext": {**security(), "procMount": "Unmasked"}}
    position = 1 if kind == "containers" else 0
    edits = {f"{WORKER_POD}.containers.1": other} if position else {f"{WORKER_POD}.{kind}": [other]}
    (line,) = told(spoilt(ray_job(), edits))
    assert line == (
        f'{SHOWN_POD}.{kind}[{position}].securityContext.procMount is "Unmasked"; Pod Security allows Default'
    )


@pytest.mark.parametrize("missing", ["runAsNonRoot", "seccompProfile"])
def test_containers_may_say_what_their_pod_does_not(missing):
    own = {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}
    edits = {f"{WORKER_POD}.securityContext.{missing}": GONE, f"{CONTAINER}.securityContext.{missing}": own[missing]}
    assert told(spoilt(ray_job(), edits)) == []


@pytest.mark.parametrize("profile", ["", "runtime/default", "localhost/histoseg"])
def test_an_annotation_may_name_a_profile_of_app_armor(profile):
    assert told(spoilt(ray_job(), {ANNOTATION: {PROFILE_OF: profile, "example.com/mode": "unconfined"}})) == []


@pytest.mark.parametrize(
    ("kind", "path"), [("Pod", ""), ("Job", "spec.template."), ("CronJob", "spec.jobTemplate.spec.template.")]
)
def test_annotations_are_found_beside_every_pods_spec(kind, path):
    template = pod("main", {"cpu": 1})
    template["metadata"]["annotations"] = {PROFILE_OF: "unconfined"}
    document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}}
    place = document
    for part in path.split(".")[:-1]:
        place = place.setdefault(part, {})
    place |= {"metadata": {"name": "x", **template["metadata"]}, "spec": template["spec"]}
    (line,) = told(document)
    assert line.startswith(f'{path}metadata.annotations[{PROFILE_OF}] is "unconfined"; ')


@pytest.mark.parametrize(
    "edits",
    [
        {f"{WORKER_POD}.hostNetwork": False},
        {f"{CONTAINER}.ports": [{"containerPort": 8080, "hostPort": 0}]},
        {f"{WORKER_POD}.volumes.1": {"name": "raw", "persistentVolumeClaim": {"claimName": "raw"}}},
        {f"{CONTAINER}.livenessProbe": {"httpGet": {"port": 80, "host": ""}}},
        {f"{CONTAINER}.startupProbe": {"tcpSocket": {"port": 80}}},
        {f"{WORKER_POD}.securityContext.sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "60"}]},
        AUTOSCALED,
    ],
)
def test_what_breaks_no_rule(edits):
    assert told(spoilt(ray_job(), edits)) == []

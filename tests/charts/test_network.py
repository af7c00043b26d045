"""Who reaches whom, by the policies as a whole: what is needed passes, and nothing else."""

import itertools

import pytest

from tests.charts.network import End, passes
from tests.charts.rendering import COMPONENT, NAMESPACE, pods, some

INTERNET, INSIDE = End(ip="52.216.8.44"), End(ip="10.1.2.3")
AGENT, AGENT_IPV6 = End(ip="169.254.170.23"), End(ip="fd00:ec2::23")  # of EKS Pod Identity, as its user guide has them


def pod(objects, component):
    """A pod of the release, with the labels that KubeRay adds."""
    labels = dict(next(each.labels for each in pods(objects) if each.labels[COMPONENT] == component))
    if component in ("head", "worker"):
        labels |= {"ray.io/is-ray-node": "yes", "ray.io/node-type": component, "ray.io/cluster": "job-1"}
    return End(labels=labels, namespace=NAMESPACE)


def stranger(namespace=NAMESPACE):
    return End(labels={"app": "else"}, namespace=namespace)


def reaches(objects, source, target, port, protocol="TCP"):
    ends = [pod(objects, each) if isinstance(each, str) else each for each in (source, target)]
    return passes(objects, *ends, port, protocol)


@pytest.mark.parametrize(("source", "target"), [*itertools.product(("head", "worker"), repeat=2)])
def test_ray_pods_reach_each_other_at_any_port(source, target, rendered):
    for port in (6379, 8265, 10002, 29500, 52365):  # GCS, dashboard, a Ray worker, torch.distributed, Ray's agent
        assert reaches(rendered("minimal"), source, target, port)


def test_a_ray_pod_of_another_release_is_a_stranger(rendered):
    objects = rendered("minimal")
    other = pod(objects, "worker")
    other = End(labels={**other.labels, "app.kubernetes.io/instance": "other"}, namespace=NAMESPACE)
    assert not reaches(objects, other, "head", 6379)
    assert not reaches(objects, "worker", other, 6379)


@pytest.mark.parametrize(
    ("source", "port", "expected"),
    [
        ("submitter", 8265, True),
        ("submitter", 6379, True),
        ("submitter", 10001, False),
        ("test", 8265, True),
        ("test", 6379, False),
        (stranger("kuberay-system"), 8265, True),
        (stranger("kuberay-system"), 6379, False),
        (stranger("monitoring"), 8080, True),
        (stranger("monitoring"), 44217, True),
        (stranger("monitoring"), 44227, True),
        (stranger("monitoring"), 8265, False),
        (stranger("jupyterhub"), 8265, False),
        (stranger(), 8265, False),
        (stranger("default"), 6379, False),
        (INTERNET, 8265, False),
    ],
)
def test_who_reaches_a_head(source, port, expected, rendered):
    assert reaches(rendered("minimal"), source, "head", port) is expected


def test_clients_are_let_in_where_they_were_named(rendered):
    assert reaches(rendered("interactive"), stranger("jupyterhub"), "head", 8265)
    assert not reaches(rendered("interactive"), stranger("jupyterhub"), "head", 10001)


def test_namespaces_that_are_not_named_are_the_releases_own(rendered):
    objects = rendered("monitoring", "networkPolicy.operatorNamespace=,networkPolicy.prometheusNamespace=")
    assert reaches(objects, stranger(), "head", 8265)
    assert reaches(objects, stranger(), "worker", 8080)
    assert reaches(objects, stranger(), "exporter", 9464)
    assert not reaches(objects, stranger("kuberay-system"), "head", 8265)


def test_nobody_reaches_a_submitter_or_a_test(rendered):
    for source, target in itertools.product(("head", "worker", stranger("monitoring")), ("submitter", "test")):
        assert not reaches(rendered("minimal"), source, target, 8265)


@pytest.mark.parametrize(
    ("scenario", "target", "port", "expected"),
    [
        ("minimal", INTERNET, 443, True),
        ("minimal", INTERNET, 80, False),
        ("minimal", INTERNET, 22, False),
        ("external-s3", INSIDE, 9000, True),
        ("external-s3", INSIDE, 443, False),
        ("external-s3", INTERNET, 9000, False),
        ("external-s3", stranger("storage"), 9000, True),  # where pods are matched by label only
        ("external-s3", stranger("storage"), 443, False),
        ("external-s3", stranger("default"), 9000, False),
        ("minimal", stranger("storage"), 443, False),
        ("workload-identity", AGENT, 80, True),
        ("workload-identity", AGENT_IPV6, 80, True),
        ("workload-identity", AGENT, 443, False),
        ("workload-identity", End(ip="169.254.169.254"), 80, False),  # a node's credentials are beside it
        ("minimal", AGENT, 80, False),
        ("minimal", AGENT_IPV6, 80, False),
        ("irsa", AGENT, 80, False),
        ("irsa", End(ip="10.20.0.7"), 443, True),  # the bucket's endpoint
        ("irsa", End(ip="10.20.1.7"), 443, True),  # the token service's, which extraEgress names
        ("irsa", INTERNET, 443, False),
        ("minimal", End(ip="169.254.169.254"), 443, False),  # a cloud's metadata, where a node's credentials are
        ("seaweedfs", "store", 8333, True),
        ("seaweedfs", "store", 8888, False),  # the filer, which asks nobody for a key
        ("seaweedfs", INTERNET, 443, False),
    ],
)
@pytest.mark.parametrize("source", ["head", "worker", "test"])
def test_who_uses_the_store_reaches_it_and_no_more(source, scenario, target, port, expected, rendered):
    assert reaches(rendered(scenario), source, target, port) is expected


@pytest.mark.parametrize("setting", ["networkPolicy.storePorts[0]=9001"])
def test_the_stores_ports_can_be_said(setting, rendered):
    assert reaches(rendered("external-s3", setting), "worker", INSIDE, 9001)
    assert not reaches(rendered("external-s3", setting), "worker", INSIDE, 9000)


def test_a_plain_http_endpoint_without_a_port_is_at_80(rendered):
    objects = rendered("external-s3", "store.endpoint=http://s3.storage.svc")
    assert reaches(objects, "worker", INSIDE, 80)
    assert not reaches(objects, "worker", INSIDE, 443)


def test_the_submitter_has_no_business_with_the_store(rendered):
    assert not reaches(rendered("minimal"), "submitter", INTERNET, 443)
    assert not reaches(rendered("workload-identity"), "submitter", AGENT, 80)
    assert not reaches(rendered("seaweedfs"), "submitter", "store", 8333)


def test_nobody_else_reaches_an_s3_server_of_ours_and_it_reaches_nobody(rendered):
    objects = rendered("seaweedfs")
    assert not reaches(objects, stranger(), "store", 8333)
    assert not reaches(objects, stranger("monitoring"), "store", 8080)
    assert not reaches(objects, "store", INTERNET, 443)
    assert not reaches(objects, "store", "head", 8265)


def test_prometheus_reaches_the_exporter(rendered):
    objects = rendered("monitoring")
    assert reaches(objects, stranger("monitoring"), "exporter", 9464)
    assert not reaches(objects, stranger(), "exporter", 9464)
    assert reaches(objects, "exporter", INTERNET, 443)


def test_only_an_autoscaling_head_reaches_the_kubernetes_api(rendered):
    address = "networkPolicy.storeCidrs[0]=52.0.0.0/8"  # So that the API server is no part of the store.
    api = End(ip="10.96.0.1")
    assert reaches(rendered("autoscaling", address), "head", api, 443)
    assert reaches(rendered("autoscaling", address), "head", api, 6443)
    assert not reaches(rendered("autoscaling", address), "worker", api, 443)
    assert not reaches(rendered("minimal", address), "head", api, 443)
    assert not reaches(rendered("minimal", address), "head", api, 6443)


def test_everybody_may_ask_for_names(rendered):
    objects = rendered("seaweedfs")
    for component, protocol in itertools.product(("head", "worker", "submitter", "test", "store"), ("UDP", "TCP")):
        assert reaches(objects, component, stranger("kube-system"), 53, protocol)
        assert reaches(objects, component, End(ip="169.254.20.10"), 53, protocol)  # a node's own DNS cache


def test_without_policies_everything_is_open(rendered):
    objects = rendered("unauthenticated")
    assert some(objects, "NetworkPolicy") == []
    assert reaches(objects, stranger(), "head", 8265)

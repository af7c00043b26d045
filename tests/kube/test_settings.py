import logging

import pytest
import yaml

from histoseg.kube.settings import Settings, fullname
from tests.kube.lab import CONFIG_MAPS


def parse(data):
    return Settings.parse(data, "ConfigMap team/histoseg-settings", "histoseg")


def changed(data, key, **changes):
    """The ConfigMap with other values in one of its files."""
    return {**data, key: yaml.safe_dump({**yaml.safe_load(data[key]), **changes})}


@pytest.mark.parametrize(
    ("release", "name"),
    [  # by the rule of the chart's helper, worked by hand
        ("histoseg", "histoseg"),
        ("my-histoseg", "my-histoseg"),
        ("lab", "lab-histoseg"),
        ("a" * 39 + "-histoseg", "a" * 39),
    ],
)
def test_fullname_is_as_in_the_chart(release, name):
    assert fullname(release) == name


def test_reads_what_the_chart_wrote(server, cluster, data):
    server.put(CONFIG_MAPS, "lab-histoseg-settings", {"data": data})
    found = Settings.read(cluster, "lab")
    assert (found.fullname, found.image, found.ray_version) == (
        "lab-histoseg",
        "registry.example/histoseg-train:0.1.0",
        "2.60.0",
    )
    assert (found.store.url, found.store.existing_secret, found.store.access_key_key) == (
        "s3://bucket/prefix",
        "store-keys",
        "access",
    )
    assert [(crd.name, crd.version) for crd in found.crds] == [("rayjobs.ray.io", "v1")]
    assert found.template["kind"] == "RayJob"


def test_no_release(cluster, mistake):
    expected = (
        r"no release 'lab' in namespace 'team' \(no ConfigMap lab-histoseg-settings\); `helm install lab "
        r"charts/histoseg --namespace team`, or name another with RELEASE= and NAMESPACE="
    )
    with pytest.raises(mistake, match=expected):
        Settings.read(cluster, "lab")


def test_another_minor_version_is_refused(data, mistake):
    other = changed(data, "settings.yaml", chart={"version": "0.2.0", "appVersion": "0.2.0"})
    with pytest.raises(mistake, match=r"the release is of histoseg 0\.2\.0, installed here is 0\.1\.0; `helm upgrade`"):
        parse(other)


def test_for_looking_another_minor_version_is_said(server, cluster, data, caplog):
    other = changed(data, "settings.yaml", chart={"version": "0.2.0", "appVersion": "0.2.0"})
    server.put(CONFIG_MAPS, "histoseg-settings", {"data": other})
    with caplog.at_level(logging.WARNING):
        assert Settings.read(cluster, strict=False).app_version == "0.2.0"
    assert "the release is of histoseg 0.2.0, installed here is 0.1.0; jobs run 0.2.0" in caplog.text


def test_another_patch_is_said(data, caplog):
    with caplog.at_level(logging.WARNING):
        parse(changed(data, "settings.yaml", chart={"version": "0.1.7", "appVersion": "0.1.7"}))
    assert "the release is of histoseg 0.1.7, installed here is 0.1.0; jobs run 0.1.7" in caplog.text


@pytest.mark.parametrize(
    ("key", "changes", "field"),
    [
        ("settings.yaml", {"image": ""}, "image"),
        ("settings.yaml", {"store": None}, "store"),
        ("settings.yaml", {"store": {"endpoint": "x"}}, "store.url"),
        ("settings.yaml", {"rayVersion": 2.6}, "rayVersion"),
        ("settings.yaml", {"chart": "0.1.0"}, "chart"),
        ("rayjob.yaml", {"kind": "RayCluster"}, "kind"),
        ("rayjob.yaml", {"apiVersion": "ray.io/v2"}, "apiVersion"),
        ("rayjob.yaml", {"spec": {}}, "spec"),
        ("rayjob.yaml", {"spec": {"rayClusterSpec": {"workerGroupSpecs": []}}}, "spec.rayClusterSpec.workerGroupSpecs"),
    ],
)
def test_a_config_map_of_another_chart_is_refused_with_the_field(key, changes, field, data, mistake):
    with pytest.raises(mistake, match=rf"ConfigMap team/histoseg-settings: {key}: {field}.*; `helm upgrade`"):
        parse(changed(data, key, **changes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a: [", "rayjob.yaml is not valid YAML"), ("[1]", "rayjob.yaml is missing or not"), (None, "rayjob.yaml is mis")],
)
def test_what_is_not_a_mapping_in_yaml_is_refused(text, expected, data, mistake):
    broken = {**data, "rayjob.yaml": text} if text else {"settings.yaml": data["settings.yaml"]}
    with pytest.raises(mistake, match=expected):
        parse(broken)

"""The chart as a package: it lints, renders, is described, and tells a new user what to do next."""

import subprocess
import sys
import tarfile
import tomllib

import kubernetes_validate
import pytest
import yaml

from tests.charts.rendering import CHART, NAMESPACE, SCENARIOS, documented, leaves, notes, run, values_of

ROOT = CHART.parents[1]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_lints_without_a_warning(scenario, helm):
    result = run(helm, "lint", "--strict", CHART, "--values", values_of(scenario))
    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_objects_have_distinct_names_and_lie_in_the_namespace(scenario, rendered):
    objects = rendered(scenario)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)
    strayed = [each["kind"] for each in objects if each["metadata"].get("namespace") != NAMESPACE]
    # The only kind of ours that belongs to the whole cluster, and those of extraManifests, which Helm puts into it
    assert set(strayed) <= {"PriorityClass", "Ingress", "ResourceClaimTemplate"}


BUILT_IN = ("v1", "apps/v1", "batch/v1", "policy/v1", "scheduling.k8s.io/v1")
NETWORKED = ("networking.k8s.io/v1", "rbac.authorization.k8s.io/v1")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of importlib.resources, inside kubernetes_validate
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_built_in_kinds_are_as_kubernetes_wants_them(scenario, rendered):
    for each in rendered(scenario):
        if each["apiVersion"] in BUILT_IN + NETWORKED:
            kubernetes_validate.validate(each, "1.35", strict=True)


def test_an_unknown_field_is_seen(rendered):
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {}, "spec": {"minAvailble": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="minAvailble"):
        kubernetes_validate.validate(budget, "1.35", strict=True)


def test_the_package_holds_what_an_installation_needs_and_no_examples(helm, tmp_path):
    result = run(helm, "package", CHART, "--destination", tmp_path)
    assert result.returncode == 0, result.stderr
    with tarfile.open(next(tmp_path.glob("histoseg-*.tgz"))) as package:
        names = {name.partition("/")[2] for name in package.getnames()}
    assert {"values.schema.json", "README.md", "files/make_bucket.py", "templates/NOTES.txt"} <= names
    assert {"dashboards", "rules"} <= {name.partition("/")[0] for name in names}
    assert not [name for name in names if name.startswith("ci/")]


def test_versions_are_those_of_the_python_package():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]
    (ray,) = [each for each in project["optional-dependencies"]["train"] if each.startswith("ray[")]
    assert ray.partition("==")[2] == chart["annotations"]["histoseg.io/ray-version"]


def test_every_value_is_described():
    told = {each.path for each in documented()}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    untold = [path for path in leaves(values) if path not in told and path.rpartition(".")[0] not in told]
    assert untold == []


def test_the_readme_lists_every_value_as_it_is():
    rows = [line for line in (CHART / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert rows == [each.row for each in documented()]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_notes_say_how_to_go_on(scenario, helm):
    text = notes(helm, values_of(scenario))
    release = "histology-histoseg" if scenario == "raw-data" else "histoseg"
    place = f"CLUSTER=<context> NAMESPACE={NAMESPACE} RELEASE={release}"
    assert f"make submit EXP=smoke DATA=demo {place}\n" in text
    prepared = "cerberus_table2" if scenario == "raw-data" else "table1"
    assert f"make submit EXP={prepared} SCALE=paper {place} RESULTS=1\n" in text  # what the CronJob prepares
    assert f"helm test histoseg --namespace {NAMESPACE} --logs" in text
    assert "<no value>" not in text
    assert "%!" not in text  # how Go's printf reports a mistake


@pytest.mark.parametrize(
    ("scenario", "warning"),
    [
        ("unauthenticated", "WARNING  Ray asks for no token"),
        ("unauthenticated", "WARNING  There are no NetworkPolicies"),
        ("seaweedfs", "WARNING  The store is a single SeaweedFS pod with one copy"),
        ("scratch-store", "on an emptyDir: all data is lost with the pod"),
        ("minimal", "Only administrators may submit yet"),
        ("minimal", "NOTE     Images are named by tag"),
        ("minimal", "Install KubeRay 1.7.0 first"),  # Offline, Helm knows no cluster that has it.
    ],
)
def test_notes_warn(scenario, warning, helm):
    assert warning in notes(helm, values_of(scenario))


def test_notes_warn_of_gpus_that_nobody_uses(helm):
    warning = "WARNING  The interactive cluster holds its GPUs"
    assert warning in notes(helm, values_of("gpu"), ("cluster.enabled=true",))
    assert warning not in notes(helm, values_of("gpu"))
    assert warning not in notes(helm, values_of("interactive"))


def test_notes_name_the_alert_of_protected_heads_where_there_is_monitoring(helm):
    matcher = f'namespace="{NAMESPACE}", poddisruptionbudget="histoseg-head"'
    assert matcher in notes(helm, values_of("monitoring"), ("head.protect=true",))
    assert "KubePdbNotEnoughHealthyPods" not in notes(helm, values_of("monitoring"))
    assert "KubePdbNotEnoughHealthyPods" not in notes(helm, values_of("gpu"))


def test_notes_lead_to_a_jobs_dashboard(helm):
    text = notes(helm, values_of("minimal"))
    assert "get rayjob <job> --output jsonpath='{.status.rayClusterName}'" in text
    assert 'port-forward "service/$cluster-head-svc" 8265:8265' in text
    assert """get secret "$cluster" --output jsonpath='{.data.auth_token}'""" in text


def test_notes_of_a_sound_installation_warn_of_nothing(helm):
    text = notes(helm, values_of("gpu"))
    assert "WARNING" not in text
    assert "Only administrators" not in text


def test_notes_name_the_interactive_cluster_and_its_token(helm):
    text = notes(helm, values_of("interactive"))
    assert "port-forward service/histoseg-cluster-head-svc 8265:8265" in text
    assert "get secret ray-token --output" in text


def test_notes_lead_to_a_store_of_ours_and_its_keys(helm):
    text = notes(helm, values_of("seaweedfs"), ("store.secretKeyKey=secret.key",))
    assert "port-forward service/histoseg-store 8333:8333" in text
    assert "export AWS_ENDPOINT_URL=http://localhost:8333" in text
    read = f"kubectl --namespace {NAMESPACE} get secret histoseg-store --output jsonpath="
    assert f"""export AWS_ACCESS_KEY_ID="$({read}'{{.data.AWS_ACCESS_KEY_ID}}' | base64 --decode)\"""" in text
    # kubectl takes a dot for the next field unless a backslash precedes it.
    assert f"""export AWS_SECRET_ACCESS_KEY="$({read}'{{.data.secret\\.key}}' | base64 --decode)\"""" in text
    assert "8333" not in notes(helm, values_of("minimal"))


@pytest.mark.parametrize("release", ["1lab", "my.histoseg", "8"])
def test_a_release_whose_name_no_service_can_have_is_refused(release, helm):
    done = run(helm, "template", release, CHART, "--values", values_of("minimal"))
    assert done.returncode == 1
    assert "choose another name for the release, or set fullnameOverride" in done.stderr
    named = run(
        helm, "template", release, CHART, "--values", values_of("minimal"), "--set", "fullnameOverride=lab-histoseg"
    )
    assert named.returncode == 0, named.stderr


def test_chart_and_scenarios_are_tidy_yaml():
    files = [CHART / "Chart.yaml", CHART / "values.yaml", *(CHART / "ci").glob("*.yaml")]
    rules = (
        "{extends: default, rules: {line-length: {max: 140}, document-start: disable, braces: {max-spaces-inside: 1}}}"
    )
    yamllint = [sys.executable, "-m", "yamllint", "-d", rules, *files]
    result = subprocess.run(yamllint, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout

"""The rules of secrets."""

import pytest

from tests.kube.broken import (
    AUTOSCALED,
    CLUSTER,
    SHOWN_CONTAINER,
    SHOWN_WORKER,
    WORKER_POD,
    cases,
    env,
    names,
    told,
)
from tests.kube.example import ray_job, security, spoilt

JOBS = {
    "hides_secrets": [
        (
            {
                f"{WORKER_POD}.initContainers": [
                    {"name": "fetch", "securityContext": security(), "env": [env("AWS_SECRET_ACCESS_KEY", "hush")]}
                ]
            },
            f"{SHOWN_WORKER}.template.spec.initContainers[0].env[AWS_SECRET_ACCESS_KEY] is "
            '"a literal"; take it from a Secret by valueFrom.secretKeyRef',
        ),
    ],
    "autoscaler_hides_secrets": [
        (
            {**AUTOSCALED, f"{CLUSTER}.autoscalerOptions.env": [env("API_TOKEN", "hush")]},
            f'{CLUSTER}.autoscalerOptions.env[API_TOKEN] is "a literal"; '
            "take it from a Secret by valueFrom.secretKeyRef",
        ),
    ],
}


@pytest.mark.parametrize(("edits", "line"), cases(JOBS))
def test_a_job_that_breaks_one_rule(edits, line):
    assert told(spoilt(ray_job(), edits)) == [line]


def test_every_rule_is_broken_by_some_case():
    from histoseg.kube.rules import secrets

    assert names(secrets.RULES, secrets.CLUSTER_RULES) == {*JOBS}


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("HF_TOKEN", "hush", True),
        ("TOKEN", "hush", True),
        ("hf_token", "hush", True),
        ("CLIENT_SECRET", "hush", True),
        ("PGPASSWORD", "hush", True),
        ("AWS_ACCESS_KEY_ID", "hush", True),
        ("SIGNING_KEY", "hush", True),
        ("WANDB_API_KEY", "hush", True),
        ("DB_CREDENTIALS", "hush", True),
        ("HF_TOKEN", "", False),
        ("MAX_TOKENS", "4096", False),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("RAY_AUTH_TOKEN_PATH", "/var/run/token", False),
        ("SECRET_NAME", "store", False),
        ("PASSWORD_MIN_CHARS", "8", False),
        ("MONKEY", "business", False),
        ("SSH_PUBLIC_KEY", "ssh-ed25519 AAAA", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/var/run/gcp.json", False),
    ],
)
def test_the_last_word_of_a_name_tells_a_secret(name, value, is_secret):
    lines = told(spoilt(ray_job(), {f"{WORKER_POD}.containers.0.env.0": env(name, value)}))
    line = f'{SHOWN_CONTAINER}.env[{name}] is "a literal"; take it from a Secret by valueFrom.secretKeyRef'
    assert lines == ([line] if is_secret else [])


def test_a_secret_is_not_repeated():
    (line,) = told(spoilt(ray_job(), {f"{WORKER_POD}.containers.0.env": [env("MY_PASSWORD", "correct horse")]}))
    assert "correct horse" not in line

"""Whom NetworkPolicies let talk to whom, worked out as the Kubernetes documentation describes it.

A connection passes if the policies of both ends let it: each end is open in a direction until a policy that names this
direction selects it, and then only for what some policy allows.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class End:
    """One end of a connection: a pod, or an address outside if `ip` is not empty."""

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
    ip: str = ""


def passes(objects: list[dict[str, Any]], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    leaves = _allowed(policies, "Egress", source, target, (port, protocol))
    return leaves and _allowed(policies, "Ingress", target, source, (port, protocol))


def _allowed(policies: list[dict[str, Any]], direction: str, own: End, other: End, port: tuple[int, str]) -> bool:
    spec_key, peers_key = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    applied = [
        each["spec"]
        for each in policies
        if not own.ip
        and each["metadata"]["namespace"] == own.namespace
        and direction in each["spec"]["policyTypes"]
        and _selects(each["spec"]["podSelector"], own.labels)
    ]
    rules = [(own.namespace, rule) for spec in applied for rule in spec.get(spec_key, [])]
    return not applied or any(_matches(rule, peers_key, namespace, other, port) for namespace, rule in rules)


def _matches(rule: dict[str, Any], peers_key: str, namespace: str, other: End, port: tuple[int, str]) -> bool:
    ports = [(each["port"], each.get("protocol", "TCP")) for each in rule.get("ports", [])]
    peers = rule.get(peers_key, [])
    return (not ports or port in ports) and (not peers or any(_is(peer, namespace, other) for peer in peers))


def _is(peer: dict[str, Any], namespace: str, other: End) -> bool:
    if block := peer.get("ipBlock"):
        return (
            bool(other.ip) and _lies_in(other.ip, [block["cidr"]]) and not _lies_in(other.ip, block.get("except", []))
        )
    if other.ip:
        return False
    if "namespaceSelector" in peer:
        there = _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
    else:
        there = other.namespace == namespace
    return there and _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", "only In is worked out here"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def _lies_in(ip: str, ranges: list[str]) -> bool:
    return any(ipaddress.ip_address(ip) in ipaddress.ip_network(each) for each in ranges)

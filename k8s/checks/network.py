"""Who may talk to whom: nothing by default, and for each service exactly what its settings name."""

import re

from rendering import config_of, name_of, of_kind, pod_labels, selects, services, stage_of

# Ports that only some stages may use.
ONLY = {6379: ("caching", "fused"), 6380: ("caching", "fused"), 5671: ("ingestion", "publishing", "fused"), 5672: ("ingestion", "publishing", "fused")}

REDIS = (6379, 6380)


def check(docs):
    policies = of_kind(docs, "NetworkPolicy")
    if not policies:
        return
    for policy in policies:
        yield from check_policy(policy, docs)
    for deployment in services(docs):
        name, stage, labels = name_of(deployment), stage_of(deployment), pod_labels(deployment)
        own = [p["spec"] for p in policies if selects(p["spec"]["podSelector"], labels)]
        closed = [p for p in own if set(p["policyTypes"]) == {"Ingress", "Egress"} and not p.get("ingress") and not p.get("egress")]
        if not closed:
            yield "default-deny", f"{name}: no policy denies what is not allowed"
        ways_out = [rule for p in own for rule in p.get("egress", [])]
        ways_in = [rule for p in own for rule in p.get("ingress", [])]
        config = config_of(docs, deployment)
        if config.get("FOREBAY__ASYNC__STORE") == "redis" and not any(entry["port"] in REDIS for rule in ways_out for entry in rule["ports"]):
            yield "way-out", f"{name}: no policy lets it reach the Redis of answers that wait for their callers"
        for what, host, port in needs(stage, config):
            if not any(leads_to(rule, host, port, docs) for rule in ways_out):
                yield "way-out", f"{name}: no policy lets it reach {what} ({host}:{port})"
        for port in sorted({entry["port"] for rule in ways_out for entry in rule["ports"]}):
            answers_later = port in REDIS and config.get("FOREBAY__ASYNC__STORE") == "redis"
            if stage not in ONLY.get(port, (stage,)) and not answers_later:
                yield "too-open", f"{name}: may reach port {port}, which is none of its business"
        inside = {entry["port"] for rule in ways_in for entry in rule["ports"]}
        wanted = {8000, 8080, 8081} if stage in ("ingestion", "fused") else {8000}
        if inside != wanted:
            yield "way-in", f"{name}: ports {sorted(inside)} are open, expected {sorted(wanted)}"


def check_policy(policy, docs):
    name, spec = name_of(policy), policy["spec"]
    workloads = of_kind(docs, "Deployment", "StatefulSet")
    strimzi = "strimzi.io/cluster" in spec["podSelector"].get("matchLabels", {})
    if not strimzi and not any(selects(spec["podSelector"], pod_labels(w)) for w in workloads):
        yield "policy-selector", f"NetworkPolicy {name}: selects no pod"
    for rule in spec.get("ingress", []):
        if not rule.get("from"):
            yield "from-anywhere", f"NetworkPolicy {name}: lets everybody in"
    for rule in spec.get("egress", []):
        if not rule.get("to") and not strimzi:
            yield "to-anywhere", f"NetworkPolicy {name}: lets pods out to everywhere"
        if not rule.get("ports") and not strimzi:
            yield "any-port", f"NetworkPolicy {name}: opens all ports"


def needs(stage, config):
    """(what, host, port) that the settings of a service name."""
    found = [("a name server", "kube-dns.kube-system", 53)]
    addresses = {"Kafka": config.get("FOREBAY__KAFKA__BROKERS") or config.get("KAFKA_BROKER"), "traces": config.get("OTEL_EXPORTER_OTLP_ENDPOINT")}
    if stage in ("caching", "fused"):
        addresses["Redis"] = config.get("FOREBAY__REDIS__URL") or (f"{config['REDIS_HOST']}:6379" if config.get("REDIS_HOST") else None)
    if stage in ("preprocessing", "prediction", "fused"):
        addresses["the registry"] = config.get("FOREBAY__MODELS__REGISTRY") or config.get("MLFLOW_TRACKING_URI")
    for what, address in addresses.items():
        match = re.search(r"(?:^|//|@)([\w.-]+):(\d+)", address or "")
        if match:
            found.append((what, match.group(1), int(match.group(2))))
    return found


def leads_to(rule, host, port, docs):
    """Whether an egress rule has the port, and the namespace that `name.namespace` says (no dot: this one)."""
    if port not in {entry["port"] for entry in rule.get("ports", [])}:
        return False
    namespace = host.split(".")[1] if "." in host else None
    for peer in rule.get("to", []):
        chosen = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
        if chosen == namespace and (chosen or "podSelector" in peer):
            return chosen is not None or reaches(peer["podSelector"], host, docs)
    return False


def reaches(selector, host, docs):
    """A peer in the same namespace: the pods behind the Service of that name, or Strimzi's, which it names <cluster>-kafka-bootstrap."""
    if "strimzi.io/cluster" in selector.get("matchLabels", {}):
        return host == f"{selector['matchLabels']['strimzi.io/cluster']}-kafka-bootstrap"
    services_of = [s for s in of_kind(docs, "Service") if name_of(s) == host]
    return any(selects(selector, s["spec"]["selector"]) for s in services_of)

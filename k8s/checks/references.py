"""Names that one object uses and another one has."""

import re
from pathlib import Path

from rendering import labels_of, name_of, of_kind, pod_labels, pod_of, selects, services

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def check(docs):
    maps = {name_of(doc) for doc in of_kind(docs, "ConfigMap")}
    for secret in of_kind(docs, "Secret"):
        yield "secret-object", f"Secret {name_of(secret)}: secrets do not belong into manifests"
    made = {name_of(user) for user in of_kind(docs, "KafkaUser")} | {f"{name_of(kafka)}-cluster-ca-cert" for kafka in of_kind(docs, "Kafka")}
    for deployment in services(docs):
        name = name_of(deployment)
        for container in pod_of(deployment)["containers"]:
            for source in container.get("envFrom", []):
                wanted = source.get("configMapRef", {}).get("name")
                if wanted not in maps:
                    yield "config-map", f"{name}: ConfigMap {wanted} does not exist"
                elif not re.fullmatch(r".+-[a-z0-9]{10}", wanted):
                    yield "config-hash", f"{name}: ConfigMap {wanted} has no hash in its name, so a change would be no rollout"
        for secret, key in secrets_of(deployment):
            if secret not in made and not re.search(rf"`{re.escape(secret)}`[^\n]*`{re.escape(key)}`", README):
                yield "secret", f"{name}: nothing makes Secret {secret} ({key}), and k8s/README.md does not say who does"
    yield from check_services(docs)
    yield from check_monitors(docs)


def secrets_of(deployment):
    """(Secret, key) that a pod needs."""
    pod = pod_of(deployment)
    for volume in pod.get("volumes", []):
        if "secret" in volume:
            for item in volume["secret"].get("items", [{"key": "url"}]):
                yield volume["secret"]["secretName"], item["key"]
    for container in pod["containers"]:
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                yield reference["name"], reference["key"]


def check_services(docs):
    for service in of_kind(docs, "Service"):
        name, selector = name_of(service), service["spec"].get("selector", {})
        workloads = of_kind(docs, "Deployment", "StatefulSet")
        chosen = [w for w in workloads if selector and selects({"matchLabels": selector}, pod_labels(w))]
        if len(chosen) != 1:
            yield "service", f"Service {name}: selects {len(chosen)} workloads, expected 1"
            continue
        ports = {port["name"] for c in pod_of(chosen[0])["containers"] for port in c.get("ports", [])}
        for port in service["spec"]["ports"]:
            if port.get("targetPort") not in ports:
                yield "service-port", f"Service {name}: target port {port.get('targetPort')} is no port of its pods"


def check_monitors(docs):
    """Every service is scraped exactly once, on a port that is there."""
    scraped = {name_of(d): 0 for d in services(docs)}
    for monitor in of_kind(docs, "PodMonitor"):
        for deployment in services(docs):
            if selects(monitor["spec"]["selector"], pod_labels(deployment)):
                ports = {port["name"] for c in pod_of(deployment)["containers"] for port in c.get("ports", [])}
                scraped[name_of(deployment)] += sum(e["port"] in ports for e in monitor["spec"]["podMetricsEndpoints"])
    for monitor in of_kind(docs, "ServiceMonitor"):
        for service in of_kind(docs, "Service"):
            if not selects(monitor["spec"]["selector"], labels_of(service)):
                continue
            ports = {port["name"] for port in service["spec"]["ports"]}
            found = sum(e["port"] in ports for e in monitor["spec"]["endpoints"])
            for deployment in services(docs):
                if selects({"matchLabels": service["spec"]["selector"]}, pod_labels(deployment)):
                    scraped[name_of(deployment)] += found
    if of_kind(docs, "PodMonitor", "ServiceMonitor"):
        for name, times in scraped.items():
            if times != 1:
                yield "scraped", f"{name}: its metrics are scraped {times} times"

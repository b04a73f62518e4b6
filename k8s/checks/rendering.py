"""What `kubectl kustomize` printed, and how to look into it."""

import re

import yaml


def load(path):
    with open(path, encoding="utf-8") as handle:
        return [doc for doc in yaml.safe_load_all(handle) if doc]


def of_kind(docs, *kinds):
    return [doc for doc in docs if doc["kind"] in kinds]


def name_of(doc):
    return doc["metadata"]["name"]


def labels_of(doc):
    return doc["metadata"].get("labels", {})


def pod_of(workload):
    return workload["spec"]["template"]["spec"]


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def stage_of(deployment):
    """`prediction` for forebay-prediction and for its canary, `fused` for the all-in-one."""
    return pod_labels(deployment).get("app.kubernetes.io/component", "")


def services(docs):
    """The Deployments of the mesh, without Kafka and Redis that may stand beside them."""
    return [d for d in of_kind(docs, "Deployment") if pod_labels(d).get("app.kubernetes.io/part-of") == "forebay"]


def is_canary(deployment):
    return name_of(deployment).endswith("-canary")


def is_subset(small, big):
    return bool(small) and small.items() <= big.items()


def selects(selector, labels):
    """Whether a label selector with matchLabels and matchExpressions takes a pod; the empty one takes all."""
    if not (selector.get("matchLabels", {}).items() <= labels.items()):
        return False
    for rule in selector.get("matchExpressions", []):
        value, operator = labels.get(rule["key"]), rule["operator"]
        if operator == "In" and value not in rule["values"]:
            return False
        if operator == "Exists" and value is None:
            return False
        if operator not in ("In", "Exists"):
            raise ValueError(f"selector operator {operator} is not understood here")
    return True


def config_of(docs, deployment):
    """The variables of a pod as text: ConfigMaps first, then `env`, as the kubelet lays them over each other. Values that are
    not in the manifests (Secrets, pod fields) are None."""
    maps = {name_of(doc): doc.get("data", {}) for doc in of_kind(docs, "ConfigMap")}
    found = {}
    for container in pod_of(deployment)["containers"]:
        for source in container.get("envFrom", []):
            found.update(maps.get(source.get("configMapRef", {}).get("name"), {}))
        for variable in container.get("env", []):
            optional = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("optional", False)
            if "value" in variable or not (optional and variable["name"] in found):
                found[variable["name"]] = variable.get("value")
    return found


def seconds(text):
    """'20s', '500ms', '2m' -> seconds."""
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", text).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def quantity(text):
    """'500m', '2', '1Gi' -> a number."""
    number, unit = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|k|M|G)?", str(text)).groups()
    factors = {"m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, None: 1}
    return float(number) * factors[unit]

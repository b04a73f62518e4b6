"""What the rendered manifests promise beyond their schema. Each check returns sentences that say what is wrong and where."""

import glob
import os
import re
import tomllib

SERVICES = ("ingestion", "preprocessing", "caching", "prediction", "publishing")
PROBES = {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
FLUSH_SECONDS = 10  # room between the end of the drain and SIGKILL


def seconds(text):
    """'20s', '500ms', '2m' -> seconds."""
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", text).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def known_settings(root):
    """The settings of every service as (exact keys, prefixes of free-form tables), both in lower case with dots."""
    keys, tables = set(), set()
    files = [f"{root}/shared/runtime/settings.toml"]
    files += glob.glob(f"{root}/services/*/settings.toml") + glob.glob(f"{root}/services/*/src/settings.toml")

    def walk(prefix, table):
        if not table and prefix:
            tables.add(prefix + ".")
        for key, value in table.items():
            name = f"{prefix}.{key}" if prefix else key
            if isinstance(value, dict):
                walk(name, value)
            else:
                keys.add(name)

    for file in files:
        if os.path.exists(file):
            with open(file, "rb") as handle:
                walk("", tomllib.load(handle))
    return keys, tables


def of_kind(docs, kind):
    return [doc for doc in docs if doc["kind"] == kind]


def is_subset(small, big):
    return bool(small) and small.items() <= big.items()


def pod_of(deployment):
    return deployment["spec"]["template"]["spec"]


def check_workload(deployment):
    """Rollout, shutdown independent things of one Deployment."""
    name, spec, pod = deployment["metadata"]["name"], deployment["spec"], pod_of(deployment)
    labels = spec["template"]["metadata"]["labels"]
    if "replicas" in spec:
        yield f"{name}: spec.replicas is set, but an autoscaler owns it"
    rolling = spec.get("strategy", {}).get("rollingUpdate", {})
    if rolling.get("maxSurge") != 1 or rolling.get("maxUnavailable") != 0:
        yield f"{name}: rollout must be maxSurge 1, maxUnavailable 0"
    if not is_subset(spec["selector"]["matchLabels"], labels):
        yield f"{name}: spec.selector does not match the pod's labels"
    for spread in pod.get("topologySpreadConstraints", []):
        if not is_subset(spread["labelSelector"]["matchLabels"], labels):
            yield f"{name}: a topologySpreadConstraint does not match the pod's labels"
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{name}: the pod mounts a service account token"
    if pod.get("enableServiceLinks") is not False:
        yield f"{name}: enableServiceLinks is not false"
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") != 65532:
        yield f"{name}: the pod does not run as user 65532"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{name}: seccomp profile is not RuntimeDefault"
    for container in pod["containers"]:
        yield from check_container(name, container)


def check_container(name, container):
    for kind in ("requests", "limits"):
        missing = {"cpu", "memory"} - set(container.get("resources", {}).get(kind, {}))
        if missing:
            yield f"{name}: resources.{kind} lacks {', '.join(sorted(missing))}"
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    if ports.get("metrics") != 8000:
        yield f"{name}: no port 8000 named metrics"
    for probe, path in PROBES.items():
        get = container.get(probe, {}).get("httpGet", {})
        if get.get("path") != path or get.get("port") != "metrics":
            yield f"{name}: {probe} is not {path} on port metrics"
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: container may escalate or write its root file system"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{name}: capabilities are not all dropped"
    if ":" not in container["image"] or container["image"].endswith(":latest"):
        yield f"{name}: image {container['image']} has no version"


def check_shutdown(deployment, drain):
    """The kubelet must not kill before the service gave up by itself."""
    name, pod = deployment["metadata"]["name"], pod_of(deployment)
    stops = [c.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0) for c in pod["containers"]]
    grace, needed = pod.get("terminationGracePeriodSeconds", 30), max(stops) + drain + FLUSH_SECONDS
    if grace < needed:
        yield f"{name}: grace period {grace} s is below preStop {max(stops)} s + drain {drain:g} s + {FLUSH_SECONDS} s"


def check_settings(maps, known):
    keys, tables = known
    for config in maps:
        for variable in config.get("data", {}):
            if not variable.startswith("FOREBAY__"):
                continue
            key = variable.removeprefix("FOREBAY__").lower().replace("__", ".")
            key = key.removesuffix("_file") if key not in keys else key
            if key not in keys and not any(key.startswith(table) for table in tables):
                yield f"{config['metadata']['name']}: {variable} is no setting of any service"


def check_references(docs):
    """Names that one object uses must be those of another one in the same rendering."""
    deployments = of_kind(docs, "Deployment")
    maps = {doc["metadata"]["name"] for doc in of_kind(docs, "ConfigMap")}
    accounts = {doc["metadata"]["name"] for doc in of_kind(docs, "ServiceAccount")}
    for deployment in deployments:
        name, pod = deployment["metadata"]["name"], pod_of(deployment)
        if pod.get("serviceAccountName") not in accounts:
            yield f"{name}: service account {pod.get('serviceAccountName')} does not exist"
        for container in pod["containers"]:
            for source in container.get("envFrom", []):
                wanted = source.get("configMapRef", {}).get("name")
                if wanted not in maps:
                    yield f"{name}: ConfigMap {wanted} does not exist"
    for service in of_kind(docs, "Service"):
        name, selector = service["metadata"]["name"], service["spec"].get("selector", {})
        chosen = [d for d in deployments if is_subset(selector, d["spec"]["template"]["metadata"]["labels"])]
        if len(chosen) != 1:
            yield f"Service {name}: selects {len(chosen)} Deployments, expected 1"
            continue
        ports = {port["name"] for c in pod_of(chosen[0])["containers"] for port in c.get("ports", [])}
        for port in service["spec"]["ports"]:
            if port.get("targetPort") not in ports:
                yield f"Service {name}: target port {port.get('targetPort')} is no port of its pods"


def check(docs, known, default_drain):
    """All checks over one rendering of the whole mesh."""
    maps = of_kind(docs, "ConfigMap")
    drain = next((seconds(m["data"]["FOREBAY__DELIVERY__DRAIN"]) for m in maps if "FOREBAY__DELIVERY__DRAIN" in m.get("data", {})), default_drain)
    names = sorted(d["metadata"]["name"] for d in of_kind(docs, "Deployment"))
    if names != sorted(f"forebay-{service}" for service in SERVICES):
        yield f"the Deployments are {', '.join(names)}, expected one for each of {', '.join(SERVICES)}"
    for account in of_kind(docs, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {account['metadata']['name']}: mounts a token"
    for deployment in of_kind(docs, "Deployment"):
        yield from check_workload(deployment)
        yield from check_shutdown(deployment, drain)
    yield from check_settings(maps, known)
    yield from check_references(docs)


def default_drain(root):
    with open(f"{root}/shared/runtime/settings.toml", "rb") as handle:
        return seconds(tomllib.load(handle)["delivery"]["drain"])

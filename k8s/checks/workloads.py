"""What holds for every Deployment of the mesh: rollout, shutdown, probes, limits, and what its pod may do."""

import program
from rendering import (config_of, is_canary, is_subset, name_of, of_kind, pod_labels, pod_of, quantity, seconds, selects, services, stage_of)

PROBES = {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
FLUSH_SECONDS = 10  # room between the end of the drain and SIGKILL
DRAIN = program.defaults()[0]["delivery.drain"]
PATHS = program.probe_paths()
STAGES = ("ingestion", "preprocessing", "caching", "prediction", "publishing", "fused")


def check(docs):
    for deployment in services(docs):
        yield from check_rollout(deployment, services(docs))
        yield from check_pod(deployment, docs)
        yield from check_shutdown(deployment, config_of(docs, deployment))
        for container in pod_of(deployment)["containers"]:
            yield from check_container(name_of(deployment), stage_of(deployment), container, config_of(docs, deployment))
    yield from check_budgets(docs)


def check_rollout(deployment, others):
    name, spec, labels = name_of(deployment), deployment["spec"], pod_labels(deployment)
    if "replicas" in spec and not is_canary(deployment):
        yield "replicas", f"{name}: spec.replicas is set, but an autoscaler owns it"
    if stage_of(deployment) not in STAGES:
        yield "stage", f"{name}: its component {stage_of(deployment)!r} is no stage"
    rolling = spec.get("strategy", {}).get("rollingUpdate", {})
    if rolling.get("maxSurge") != 1 or rolling.get("maxUnavailable") != 0:
        yield "rolling", f"{name}: rollout must be maxSurge 1, maxUnavailable 0"
    if not is_subset(spec["selector"]["matchLabels"], labels):
        yield "selector", f"{name}: spec.selector does not match the pod's labels"
    for other in others:
        if name_of(other) != name and selects(spec["selector"], pod_labels(other)):
            yield "selector-overlap", f"{name}: its selector takes the pods of {name_of(other)} as well"
    spreads = pod_of(deployment).get("topologySpreadConstraints", [])
    if not is_canary(deployment) and {s["topologyKey"] for s in spreads} != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
        yield "spread", f"{name}: its pods are not spread over zones and machines"
    for spread in spreads:
        if not is_subset(spread["labelSelector"]["matchLabels"], labels):
            yield "spread-selector", f"{name}: a topologySpreadConstraint does not match the pod's labels"


def check_pod(deployment, docs):
    name, pod = name_of(deployment), pod_of(deployment)
    if pod.get("automountServiceAccountToken") is not False:
        yield "pod-token", f"{name}: the pod mounts a service account token"
    if pod.get("enableServiceLinks") is not False:
        yield "service-links", f"{name}: enableServiceLinks is not false"
    accounts = {name_of(doc): doc for doc in of_kind(docs, "ServiceAccount")}
    account = accounts.get(pod.get("serviceAccountName"))
    if account is None:
        yield "account", f"{name}: service account {pod.get('serviceAccountName')} does not exist"
    elif account.get("automountServiceAccountToken") is not False:
        yield "account-token", f"ServiceAccount {name_of(account)}: mounts a token"
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") != 65532:
        yield "user", f"{name}: the pod does not run as user 65532"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccomp", f"{name}: seccomp profile is not RuntimeDefault"
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "host", f"{name}: the pod shares something with its machine"
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= {"configMap", "secret", "emptyDir", "projected"}:
            yield "volume", f"{name}: volume {volume['name']} is of a kind that a restricted pod may not have"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield "volume-limit", f"{name}: volume {volume['name']} has no size limit"


def check_container(name, stage, container, config):
    for kind in ("requests", "limits"):
        missing = {"cpu", "memory"} - set(container.get("resources", {}).get(kind, {}))
        if missing:
            yield "resources", f"{name}: resources.{kind} lacks {', '.join(sorted(missing))}"
    requests, limits = (container.get("resources", {}).get(kind, {}) for kind in ("requests", "limits"))
    for what in set(requests) & set(limits):
        if quantity(requests[what]) > quantity(limits[what]):
            yield "request-over-limit", f"{name}: requests more {what} than its limit"
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    for port in ("metrics", "http", "grpc"):
        setting = {"metrics": "FOREBAY__ADMIN__LISTEN"}.get(port, f"FOREBAY__{port.upper()}__LISTEN")
        expected = port == "metrics" or stage in ("ingestion", "fused")
        if (port in ports) != expected:
            yield "port", f"{name}: port {port} is {'missing' if expected else 'not its business'}"
        elif expected and config.get(setting) != f"0.0.0.0:{ports[port]}":
            yield "listen", f"{name}: {setting} is {config.get(setting)}, its port {port} is {ports[port]}"
    for probe, path in PROBES.items():
        get = container.get(probe, {}).get("httpGet", {})
        if get.get("path") != path or get.get("port") != "metrics":
            yield "probe", f"{name}: {probe} is not {path} on port metrics"
        if get.get("path") not in PATHS:
            yield "probe-path", f"{name}: {probe} calls {get.get('path')}, the admin endpoint has {', '.join(sorted(PATHS))}"
    startup = container.get("startupProbe", {})
    if startup.get("periodSeconds", 10) * startup.get("failureThreshold", 3) < 60:
        yield "startup", f"{name}: the startup probe gives up after less than a minute"
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("readOnlyRootFilesystem") is not True:
        yield "root-files", f"{name}: container may escalate or write its root file system"
    if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
        yield "capabilities", f"{name}: capabilities are not all dropped"
    repository, _, tag = container["image"].partition("@")[0].rpartition(":")
    if not repository or tag == "latest":
        yield "image-version", f"{name}: image {container['image']} has no version"
    wanted = "forebay" if stage == "fused" else f"forebay-{stage}"
    if repository.rpartition("/")[2] != wanted:
        yield "image-name", f"{name}: image {container['image']} is not {wanted}"


def check_protection(name, docs):
    """An overlay either requires credentials over TLS, or says that it does not."""
    for deployment in services(docs):
        if stage_of(deployment) not in ("ingestion", "fused"):
            continue
        config, mounts = config_of(docs, deployment), {m["mountPath"] for c in pod_of(deployment)["containers"] for m in c.get("volumeMounts", [])}
        files = [config.get(f"FOREBAY__{setting}", "") for setting in ("AUTH__KEYS_FILE", "HTTP__TLS__CERT_FILE", "HTTP__TLS__KEY_FILE")]
        if name == "dev":
            if config.get("FOREBAY__AUTH__ANONYMOUS") != "true":
                yield "anonymous", f"{name_of(deployment)}: requires credentials that it does not have"
        elif not all(file.rpartition("/")[0] in mounts for file in files) or "FOREBAY__AUTH__ANONYMOUS" in config:
            yield "protection", f"{name_of(deployment)}: its HTTP endpoint is without API keys or TLS"


def check_shutdown(deployment, config):
    """The kubelet must not kill before the service's own deadline, and a service with HTTP must be out of the load balancer first."""
    name, pod = name_of(deployment), pod_of(deployment)
    drain = seconds(config.get("FOREBAY__DELIVERY__DRAIN") or DRAIN)
    stop = max(c.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0) for c in pod["containers"])
    if any(port["name"] == "http" for c in pod["containers"] for port in c.get("ports", [])) and stop < 5:
        yield "pre-stop", f"{name}: serves HTTP and stops without waiting for load balancers"
    grace, needed = pod.get("terminationGracePeriodSeconds", 30), stop + drain + FLUSH_SECONDS
    if grace < needed:
        yield "grace", f"{name}: grace period {grace} s is below preStop {stop} s + drain {drain:g} s + {FLUSH_SECONDS} s"


def check_budgets(docs):
    budgets = of_kind(docs, "PodDisruptionBudget")
    for deployment in services(docs):
        own = [b for b in budgets if selects(b["spec"]["selector"], pod_labels(deployment))]
        if len(own) != (0 if is_canary(deployment) else 1):
            yield "budget", f"{name_of(deployment)}: {len(own)} disruption budgets"
        if any(b["spec"].get("maxUnavailable") != 1 for b in own):
            yield "budget-size", f"{name_of(deployment)}: its disruption budget is not maxUnavailable 1"
    for budget in budgets:
        if not any(selects(budget["spec"]["selector"], pod_labels(d)) for d in services(docs)):
            yield "budget-selector", f"PodDisruptionBudget {name_of(budget)}: selects no Deployment"

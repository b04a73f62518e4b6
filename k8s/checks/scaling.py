"""Autoscalers: one for each Deployment, by lag and by age, and never more replicas than partitions."""

import re
from pathlib import Path

import yaml

import program
from rendering import config_of, is_canary, labels_of, name_of, of_kind, pod_of, services, stage_of

EXCEPTION = "forebay/more-replicas-than-partitions"
INPUT = {"ingestion": "requests_in", "preprocessing": "requests", "caching": "features", "prediction": "predict", "publishing": "results", "fused": "requests_in"}
METRICS = program.metrics()
DEFAULTS = program.defaults()[0]
NAMES = {setting: name for setting, name, _ in program.topics()}
# Parameters of KEDA's triggers that are used here (kafka_scaler.go, prometheus_scaler.go, cpu_memory_scaler.go).
TRIGGERS = {
    "kafka": {"bootstrapServersFromEnv", "consumerGroup", "topic", "lagThreshold", "activationLagThreshold", "offsetResetPolicy", "excludePersistentLag",
              "allowIdleConsumers", "limitToPartitionsWithLag", "ensureEvenDistributionOfPartitions", "tls", "sasl", "version"},
    "prometheus": {"serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues"},
    "cpu": {"value"},
}


def adapter_rules():
    with open(Path(__file__).resolve().parents[1] / "helm/prometheus-adapter.values.yaml", encoding="utf-8") as handle:
        return yaml.safe_load(handle)["rules"]["custom"]


def partitions_of(docs, deployment):
    """Partitions of the topic that a stage reads: what KafkaTopic says where there are such, else the setting."""
    topic = NAMES[INPUT.get(stage_of(deployment), "requests_in")]
    made = [t["spec"]["partitions"] for t in of_kind(docs, "KafkaTopic") if name_of(t) == topic]
    said = config_of(docs, deployment).get("FOREBAY__KAFKA__PARTITIONS") or ""
    return made[0] if made else int(said) if said.isdigit() else DEFAULTS["kafka.partitions"]


def check(docs, scaled=True, rules=None):
    """`scaled`: whether this rendering promises an autoscaler for each Deployment. `rules`: those of prometheus-adapter."""
    scalers = of_kind(docs, "HorizontalPodAutoscaler", "ScaledObject")
    by_name = {name_of(d): d for d in services(docs)}
    for scaler in scalers:
        if scaler["spec"]["scaleTargetRef"]["name"] not in by_name:
            yield "scaler-target", f"{name_of(scaler)}: scales {scaler['spec']['scaleTargetRef']['name']}, which does not exist"
    for name, deployment in by_name.items():
        own = [s for s in scalers if s["spec"]["scaleTargetRef"]["name"] == name]
        if len(own) != (1 if scaled and not is_canary(deployment) else 0):
            yield "scalers", f"{name}: {len(own)} autoscalers"
        for scaler in own:
            beside = sum(d["spec"].get("replicas", 1) for d in services(docs) if is_canary(d) and stage_of(d) == stage_of(deployment))
            yield from check_bounds(scaler, deployment, beside, partitions_of(docs, deployment))
            if not all("cpu" in c.get("resources", {}).get("requests", {}) for c in pod_of(deployment)["containers"]):
                yield "scaler-cpu", f"{name}: scales by CPU use and requests none"
            if scaler["kind"] == "ScaledObject":
                yield from check_triggers(scaler, deployment, docs)
            else:
                yield from check_metrics(scaler, adapter_rules() if rules is None else rules)


def check_bounds(scaler, deployment, beside, partitions):
    spec, name = scaler["spec"], name_of(scaler)
    least, most = (spec.get("minReplicaCount", 0), spec["maxReplicaCount"]) if scaler["kind"] == "ScaledObject" else (spec.get("minReplicas", 1), spec["maxReplicas"])
    if not 2 <= least <= most:
        yield "scaler-least", f"{name}: {least} to {most} replicas, expected at least 2"
    excused = EXCEPTION in scaler["metadata"].get("annotations", {}) and labels_of(deployment).get("app") == "inference-service"
    if most + beside > partitions and not excused:
        yield "scaler-most", f"{name}: up to {most} replicas and {beside} of a canary for {partitions} partitions"
    behaviour = spec.get("behavior") or spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
    if behaviour.get("scaleDown", {}).get("stabilizationWindowSeconds", 0) < 300:
        yield "scaler-down", f"{name}: scales down without looking back for five minutes"


def check_triggers(scaler, deployment, docs):
    name, triggers = name_of(scaler), scaler["spec"]["triggers"]
    stage, config = stage_of(deployment), config_of(docs, deployment)
    if sorted(t["type"] for t in triggers) != ["cpu", "kafka", "prometheus"]:
        yield "triggers", f"{name}: must scale by lag, by age and by CPU"
    logins = {name_of(doc) for doc in of_kind(docs, "TriggerAuthentication")}
    for trigger in triggers:
        data = trigger["metadata"]
        unknown = set(data) - TRIGGERS.get(trigger["type"], set())
        if unknown:
            yield "trigger-key", f"{name}: trigger {trigger['type']} has no parameter {', '.join(sorted(unknown))}"
        if "authenticationRef" in trigger and trigger["authenticationRef"]["name"] not in logins:
            yield "trigger-login", f"{name}: TriggerAuthentication {trigger['authenticationRef']['name']} does not exist"
        if trigger["type"] == "kafka":
            topic = NAMES[INPUT.get(stage, "requests_in")]
            group = (config.get("FOREBAY__KAFKA__CONSUMER_GROUP") or DEFAULTS["kafka.consumer_group"]) if stage == "ingestion" else f"forebay-{stage}"
            if (data["topic"], data["consumerGroup"]) != (topic, group):
                yield "trigger-topic", f"{name}: looks at {data['consumerGroup']} on {data['topic']}, the service is {group} on {topic}"
            if not config.get(data.get("bootstrapServersFromEnv")):
                yield "trigger-brokers", f"{name}: the pod has no plain variable {data.get('bootstrapServersFromEnv')}"
            if data.get("allowIdleConsumers") != "false":
                yield "trigger-idle", f"{name}: may scale above the partitions"
            secured = (config.get("FOREBAY__KAFKA__OPTIONS__SECURITY_PROTOCOL") or "plaintext").lower() != "plaintext"
            if secured != ("authenticationRef" in trigger):
                yield "trigger-secure", f"{name}: the service {'needs' if secured else 'has no'} login to Kafka, its lag trigger {'has none' if secured else 'has one'}"
        if trigger["type"] == "prometheus":
            query = data["query"]
            if not set(re.findall(r"\b([a-z_]+)\{", query)) <= METRICS or f'stage="{stage}"' not in query:
                yield "trigger-query", f"{name}: {query} is no metric of {stage}"
            if f'namespace="{scaler["metadata"].get("namespace")}"' not in query:
                yield "trigger-namespace", f"{name}: {query} looks into another namespace"


def check_metrics(scaler, rules):
    name, metrics = name_of(scaler), scaler["spec"]["metrics"]
    pods = {m["pods"]["metric"]["name"] for m in metrics if m["type"] == "Pods"}
    resources = {m["resource"]["name"] for m in metrics if m["type"] == "Resource"}
    if "kafka_consumer_lag" not in pods or "cpu" not in resources:
        yield "hpa-metrics", f"{name}: does not scale by lag and CPU"
    for metric in sorted(pods):
        if metric not in METRICS:
            yield "hpa-metric", f"{name}: no service has a metric {metric}"
        rule = [r for r in rules if r["name"]["as"] == metric]
        if len(rule) != 1 or not rule[0]["seriesQuery"].startswith(metric + "{") or not re.match(rule[0]["name"]["matches"], metric):
            yield "adapter-rule", f"{name}: prometheus-adapter has no rule for {metric}"

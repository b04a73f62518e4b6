"""A mistake for every rule: (rule, rendering, kind, part of the name, how to break it). `__main__` plants each and sees it found."""

from rendering import pod_labels, pod_of


def container(doc):
    return pod_of(doc)["containers"][0]


def env(doc, name):
    return next(v for v in container(doc)["env"] if v["name"] == name)


def trigger(doc, kind):
    return next(t for t in doc["spec"]["triggers"] if t["type"] == kind)


def steps(path):
    """`spec/ports/0`; numbers are places in lists, and ~ stands for a slash inside a name."""
    return [int(part) if part.isdigit() else part.replace("~", "/") for part in path.split("/")]


def put(path, value):
    """Sets a value."""

    def change(doc):
        *front, last = steps(path)
        for part in front:
            doc = doc[part]
        doc[last] = value

    return change


def drop(path):
    def change(doc):
        *front, last = steps(path)
        for part in front:
            doc = doc[part]
        del doc[last]

    return change


POD = "spec/template/spec"
ONE = f"{POD}/containers/0"
D, H, S, P, C = "Deployment", "HorizontalPodAutoscaler", "ScaledObject", "NetworkPolicy", "ConfigMap"

WORKLOADS = [
    ("replicas", "prod", D, "prediction", put("spec/replicas", 3)),
    ("stage", "prod", D, "prediction", lambda d: pod_labels(d).update({"app.kubernetes.io/component": "x"})),
    ("rolling", "prod", D, "caching", put("spec/strategy/rollingUpdate/maxUnavailable", 1)),
    ("selector", "prod", D, "caching", put("spec/selector/matchLabels/app.kubernetes.io~name", "x")),
    ("selector-overlap", "prod", D, "forebay-caching", put("spec/selector/matchLabels", {"app.kubernetes.io/part-of": "forebay"})),
    ("spread", "prod", D, "caching", drop(f"{POD}/topologySpreadConstraints/0")),
    ("spread-selector", "prod", D, "caching", put(f"{POD}/topologySpreadConstraints/0/labelSelector/matchLabels", {"app": "x"})),
    ("pod-token", "prod", D, "caching", put(f"{POD}/automountServiceAccountToken", True)),
    ("service-links", "prod", D, "caching", drop(f"{POD}/enableServiceLinks")),
    ("account", "prod", D, "caching", put(f"{POD}/serviceAccountName", "absent")),
    ("account-token", "prod", "ServiceAccount", "caching", drop("automountServiceAccountToken")),
    ("user", "prod", D, "caching", put(f"{POD}/securityContext/runAsUser", 0)),
    ("seccomp", "prod", D, "caching", drop(f"{POD}/securityContext/seccompProfile")),
    ("host", "prod", D, "caching", put(f"{POD}/hostNetwork", True)),
    ("volume", "prod", D, "caching", lambda d: pod_of(d)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("volume-limit", "prod", D, "forebay-prediction", lambda d: [v.update(emptyDir={}) for v in pod_of(d)["volumes"] if "emptyDir" in v]),
    ("resources", "prod", D, "caching", drop(f"{ONE}/resources/limits/memory")),
    ("request-over-limit", "prod", D, "caching", put(f"{ONE}/resources/requests/memory", "4Gi")),
    ("port", "prod", D, "caching", put(f"{ONE}/ports", [])),
    ("port", "prod", D, "publishing", lambda d: container(d)["ports"].append({"name": "http", "containerPort": 8080})),
    ("port", "prod", D, "publishing", lambda d: container(d)["ports"].append({"name": "grpc", "containerPort": 8081})),
    ("listen", "prod", C, "forebay-settings", put("data/FOREBAY__ADMIN__LISTEN", "0.0.0.0:9000")),
    ("listen", "prod", C, "forebay-settings", put("data/FOREBAY__GRPC__LISTEN", "127.0.0.1:8081")),
    ("anonymous", "dev", C, "forebay-settings", drop("data/FOREBAY__AUTH__ANONYMOUS")),
    ("protection", "prod", D, "ingestion", lambda d: container(d)["env"].remove(env(d, "FOREBAY__AUTH__KEYS_FILE"))),
    ("protection", "legacy", D, "inference", lambda d: container(d)["env"].remove(env(d, "FOREBAY__HTTP__TLS__CERT_FILE"))),
    ("protection", "prod", C, "forebay-settings", put("data/FOREBAY__AUTH__ANONYMOUS", "true")),
    ("probe", "prod", D, "caching", put(f"{ONE}/readinessProbe/httpGet/path", "/health/live")),
    ("probe-path", "prod", D, "caching", put(f"{ONE}/readinessProbe/httpGet/path", "/ready")),
    ("startup", "prod", D, "caching", put(f"{ONE}/startupProbe/failureThreshold", 5)),
    ("root-files", "prod", D, "caching", put(f"{ONE}/securityContext/readOnlyRootFilesystem", False)),
    ("capabilities", "prod", D, "caching", put(f"{ONE}/securityContext/capabilities/drop", [])),
    ("image-version", "prod", D, "caching", put(f"{ONE}/image", "forebay-caching:latest")),
    ("image-name", "prod", D, "caching", put(f"{ONE}/image", "forebay-prediction:0.1.0")),
    ("pre-stop", "prod", D, "ingestion", drop(f"{ONE}/lifecycle")),
    ("grace", "prod", D, "caching", put(f"{POD}/terminationGracePeriodSeconds", 25)),
    ("grace", "prod", C, "forebay-settings", put("data/FOREBAY__DELIVERY__DRAIN", "2m")),
    ("budget", "prod", "PodDisruptionBudget", "caching", put("spec/selector/matchLabels", {"app": "x"})),
    ("budget-size", "prod", "PodDisruptionBudget", "caching", put("spec/maxUnavailable", "50%")),
    ("budget-selector", "prod", "PodDisruptionBudget", "caching", put("spec/selector/matchLabels", {"app": "x"})),
]
SCALING = [
    ("scaler-target", "prod", S, "caching", put("spec/scaleTargetRef/name", "x")),
    ("scalers", "prod", S, "caching", put("spec/scaleTargetRef/name", "forebay-prediction")),
    ("scaler-cpu", "prod", D, "caching", drop(f"{ONE}/resources/requests/cpu")),
    ("scaler-least", "prod", S, "caching", put("spec/minReplicaCount", 0)),
    ("scaler-most", "prod", S, "caching", put("spec/maxReplicaCount", 13)),
    ("scaler-most", "prod", D, "prediction-canary", put("spec/replicas", 2)),
    ("scaler-most", "prod", "KafkaTopic", "forebay.results", put("spec/partitions", 6)),
    ("scaler-most", "hpa", H, "caching", put("spec/maxReplicas", 20)),
    ("scaler-most", "legacy", H, "inference", drop("metadata/annotations")),
    ("scaler-down", "prod", S, "caching", put("spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown/stabilizationWindowSeconds", 0)),
    ("triggers", "prod", S, "caching", drop("spec/triggers/1")),
    ("trigger-key", "prod", S, "caching", lambda s: trigger(s, "kafka")["metadata"].update(lagTreshold="1")),
    ("trigger-login", "prod", "TriggerAuthentication", "", put("metadata/name", "x")),
    ("trigger-topic", "prod", S, "caching", lambda s: trigger(s, "kafka")["metadata"].update(topic="forebay.predict")),
    ("trigger-brokers", "prod", S, "caching", lambda s: trigger(s, "kafka")["metadata"].update(bootstrapServersFromEnv="POD_NAME")),
    ("trigger-idle", "prod", S, "caching", lambda s: trigger(s, "kafka")["metadata"].update(allowIdleConsumers="true")),
    ("trigger-secure", "prod", S, "caching", lambda s: trigger(s, "kafka").pop("authenticationRef")),
    ("trigger-query", "prod", S, "caching", lambda s: trigger(s, "prometheus")["metadata"].update(query='max(forebay_age{namespace="forebay",stage="caching"})')),
    ("trigger-namespace", "prod", S, "caching", put("metadata/namespace", "other")),
    ("hpa-metrics", "hpa", H, "caching", drop("spec/metrics/0")),
    ("hpa-metric", "hpa", H, "caching", put("spec/metrics/1/pods/metric/name", "age")),
    ("adapter-rule", "hpa", H, "caching", put("spec/metrics/1/pods/metric/name", "forebay_stage_in_flight")),
]
SETTINGS = [
    ("variable", "prod", C, "forebay-settings", put("data/KAFKA_BROKERS", "x")),
    ("setting", "prod", C, "forebay-settings", put("data/FOREBAY__KAFKA__BROKRES", "x")),
    ("file", "prod", D, "caching", lambda d: env(d, "FOREBAY__REDIS__URL_FILE").update(value="/etc/redis-url")),
    ("value", "prod", C, "forebay-settings", put("data/FOREBAY__DELIVERY__TIMEOUT", "60")),
    ("value", "prod", C, "forebay-settings", put("data/FOREBAY__KAFKA__PARTITIONS", "many")),
    ("plain-secret", "prod", D, "caching", lambda d: env(d, "FOREBAY__KAFKA__OPTIONS__SASL_PASSWORD_FILE").update(name="FOREBAY__KAFKA__OPTIONS__SASL_PASSWORD")),
    ("mount", "prod", D, "caching", lambda d: container(d)["volumeMounts"].append({"name": "x", "mountPath": "/x"})),
    ("model-cache", "prod", D, "forebay-prediction", lambda d: env(d, "FOREBAY__MODELS__CACHE_DIR").update(value="/var/models")),
]
REFERENCES = [
    ("secret-object", "prod", "ServiceAccount", "caching", put("kind", "Secret")),
    ("config-map", "prod", D, "caching", put(f"{ONE}/envFrom/0/configMapRef/name", "absent")),
    ("config-hash", "prod", D, "caching", put(f"{ONE}/envFrom/0/configMapRef/name", "forebay-keda-user")),
    ("secret", "prod", "KafkaUser", "forebay-caching", put("metadata/name", "x")),
    ("secret", "legacy", D, "", lambda d: env(d, "KAFKA_BROKER")["valueFrom"]["secretKeyRef"].update(name="kafka")),
    ("service", "prod", "Service", "ingestion", put("spec/selector", {"app": "x"})),
    ("service-port", "prod", "Service", "ingestion", put("spec/ports/0/targetPort", "web")),
    ("service-port", "prod", "Service", "ingestion", put("spec/ports/1/targetPort", "rpc")),
    ("scraped", "prod", "PodMonitor", "", put("spec/podMetricsEndpoints/0/port", "admin")),
    ("scraped", "legacy", "ServiceMonitor", "", put("spec/selector/matchLabels", {"app": "x"})),
]
NETWORK = [
    ("default-deny", "prod", P, "default-deny", put("spec/policyTypes", ["Ingress"])),
    ("way-out", "prod", P, "forebay-kafka", put("spec/egress/0/ports/1/port", 9094)),
    ("way-out", "prod", C, "forebay-settings", put("data/FOREBAY__KAFKA__BROKERS", "kafka.elsewhere:9093")),
    ("way-out", "dev", P, "forebay-redis", put("spec/egress/0/to/0/podSelector/matchLabels", {"app.kubernetes.io/name": "kafka"})),
    ("way-out", "legacy", P, "forebay-registry", put("spec/podSelector/matchExpressions/0/values", ["prediction"])),
    ("too-open", "prod", P, "forebay-redis", drop("spec/podSelector/matchExpressions")),
    ("way-in", "prod", P, "forebay-http", put("spec/podSelector/matchExpressions/0/values", ["ingestion", "caching"])),
    ("policy-selector", "prod", P, "forebay-redis", put("spec/podSelector/matchExpressions/0/values", ["cache"])),
    ("from-anywhere", "prod", P, "forebay-http", drop("spec/ingress/0/from")),
    ("to-anywhere", "prod", P, "forebay-traces", drop("spec/egress/0/to")),
    ("any-port", "prod", P, "forebay-traces", put("spec/egress/0/ports", [])),
]
KAFKA = [
    ("topics", "prod", "KafkaTopic", "forebay.replies", put("metadata/name", "forebay.answers")),
    ("inner-partitions", "prod", "KafkaTopic", "forebay.features", put("spec/partitions", 24)),
    ("compaction", "prod", "KafkaTopic", "forebay.models", put("spec/config/cleanup.policy", "delete")),
    ("retention", "prod", "KafkaTopic", "forebay.replies", put("spec/config/retention.ms", 1)),
    ("in-sync", "prod", "KafkaTopic", "forebay.replies", put("spec/replicas", 2)),
    ("partitions", "prod", C, "forebay-settings", put("data/FOREBAY__KAFKA__PARTITIONS", "24")),
    ("user-missing", "prod", "KafkaUser", "forebay-caching", put("metadata/name", "x")),
    ("rights", "prod", "KafkaUser", "forebay-caching", lambda u: u["spec"]["authorization"]["acls"].append({"resource": {"type": "topic", "name": "*"}, "operations": ["All"]})),
    ("rights", "prod", "KafkaUser", "forebay-caching", drop("spec/authorization/acls/0")),
]
LEGACY = [
    ("legacy-namespace", "legacy", "Service", "", put("metadata/namespace", "forebay")),
    ("legacy-monitor", "legacy", "ServiceMonitor", "", put("spec/endpoints/0/interval", "15s")),
    ("legacy-name", "legacy", D, "", put("metadata/name", "forebay")),
    ("legacy-label", "legacy", D, "", put("spec/template/metadata/labels/app", "forebay")),
    ("legacy-resources", "legacy", D, "", put(f"{ONE}/resources/limits/memory", "1Gi")),
    ("legacy-variable", "legacy", C, "forebay-settings", drop("data/MODEL_STAGE")),
    ("legacy-value", "legacy", C, "forebay-settings", put("data/CONSUMER_GROUP", "inference-service")),
    ("legacy-secret", "legacy", D, "", lambda d: env(d, "KAFKA_BROKER")["valueFrom"]["secretKeyRef"].update(key="brokers")),
    ("legacy-hpa", "legacy", H, "", put("metadata/name", "inference-hpa")),
    ("legacy-replicas", "legacy", H, "", put("spec/maxReplicas", 4)),
    ("legacy-metrics", "legacy", H, "", put("spec/metrics/2/pods/target/averageValue", "1000")),
    ("legacy-behaviour", "legacy", H, "", put("spec/behavior/scaleUp/policies/1/value", 2)),
]
ROLLOUT = [
    ("prod-missing", "prod/caching", None, "", None),
    ("prod-foreign", "prod/caching", D, "", put("metadata/labels/app.kubernetes.io~component", "x")),
    ("prod-name", "prod/caching", D, "", put("metadata/name", "caching")),
    ("canary-overlap", "prod/prediction-canary", D, "", put("metadata/name", "forebay-prediction")),
    ("canary-settings", "prod/prediction-canary", C, "", put("metadata/name", "forebay-settings-aaaaaaaaaa")),
    ("canary-image", "prod/prediction-canary", D, "", put(f"{ONE}/image", "forebay-prediction:0.1.0")),
]
# Objects that the schemas must refuse.
SCHEMAS = [
    ("schema", "prod", D, "caching", put(f"{ONE}/livenesProbe", {})),
    ("schema", "prod", "PodDisruptionBudget", "caching", put("spec/maxUnavailble", 1)),
    ("schema", "prod", P, "forebay-http", put("spec/ingress/0/ports/0/port", {})),
    ("schema", "prod", S, "caching", put("spec/maxReplicas", 3)),
    ("schema", "prod", "TriggerAuthentication", "", put("spec/secretTargetRef/0/secret", "x")),
    ("schema", "prod", "PodMonitor", "", put("spec/podMetricsEndpoints/0/scrapeInterval", "5s")),
    ("schema", "legacy", "ServiceMonitor", "", put("spec/endpoints/0/interval", "fast")),
    ("schema", "legacy", H, "", put("spec/metrics/0/resource/target/type", 5)),
    ("schema", "prod", "KafkaTopic", "forebay.models", put("spec/partition", 3)),
    ("schema", "prod", "KafkaUser", "forebay-caching", put("spec/authorization/acls/0/operation", "All")),
    ("schema", "prod", "KafkaNodePool", "", put("spec/roles", ["leader"])),
    ("schema", "prod", "Kafka", "forebay", put("spec/kafka/listeners/0/type", "inside")),
]
ALL = WORKLOADS + SCALING + SETTINGS + REFERENCES + NETWORK + KAFKA + LEGACY + ROLLOUT + SCHEMAS

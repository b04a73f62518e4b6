"""The overlay `legacy`, word for word where clients, dashboards and scripts rely on it."""

from rendering import config_of, name_of, of_kind, pod_of

VARIABLES = {"MLFLOW_TRACKING_URI", "MODEL_NAME", "MODEL_STAGE", "EVENTHUB_CONNECTION", "EVENTHUB_NAME", "CONSUMER_GROUP", "KAFKA_BROKER", "REDIS_HOST"}
VALUES = {"MODEL_NAME": "diabetes-rf-model", "MODEL_STAGE": "Production", "EVENTHUB_NAME": "inference-requests", "CONSUMER_GROUP": "inference-consumer",
          "KAFKA_BROKER": "kafka.kafka:9092", "REDIS_HOST": "redis-master.mlflow"}
SCALE_DOWN = {"stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}
SCALE_UP = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}, {"type": "Pods", "value": 4, "periodSeconds": 15}]}


def check(docs):
    for doc in docs:
        if doc["metadata"].get("namespace") != "mlflow":
            yield "legacy-namespace", f"{doc['kind']} {name_of(doc)} is not in namespace mlflow"
    yield from check_deployment(docs)
    yield from check_scaler(docs)
    monitors = {name_of(m): m["spec"]["endpoints"] for m in of_kind(docs, "ServiceMonitor")}
    if monitors != {"inference-service-metrics": [{"port": "metrics", "interval": "30s"}]}:
        yield "legacy-monitor", f"ServiceMonitors are {monitors}"


def check_deployment(docs):
    found = {name_of(d): d for d in of_kind(docs, "Deployment")}
    if set(found) != {"inference-service"}:
        yield "legacy-name", f"Deployments are {', '.join(found)}"
        return
    deployment = found["inference-service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    if deployment["metadata"]["labels"].get("app") != "inference-service" or labels.get("app") != "inference-service" or deployment["spec"]["selector"] != {"matchLabels": {"app": "inference-service"}}:
        yield "legacy-label", "the label and selector are not app: inference-service"
    container = pod_of(deployment)["containers"][0]
    if container["resources"] != {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "2Gi"}}:
        yield "legacy-resources", f"resources are {container['resources']}"
    config = config_of(docs, deployment)
    for variable in sorted(VARIABLES - set(config)):
        yield "legacy-variable", f"the variable {variable} is not set"
    for variable, value in VALUES.items():
        if variable in config and config[variable] != value:
            yield "legacy-value", f"{variable} is {config[variable]}, it was {value}"
    secrets = {v["name"]: v["valueFrom"]["secretKeyRef"] for v in container["env"] if "secretKeyRef" in v.get("valueFrom", {})}
    wanted = {"EVENTHUB_CONNECTION": ("eventhub-secret", "connection-string"), "KAFKA_BROKER": ("kafka-secret", "broker")}
    if {name: (ref["name"], ref["key"]) for name, ref in secrets.items()} != wanted:
        yield "legacy-secret", f"secrets are {secrets}"


def check_scaler(docs):
    scalers = {name_of(h): h for h in of_kind(docs, "HorizontalPodAutoscaler")}
    if set(scalers) != {"inference-service-hpa"}:
        yield "legacy-hpa", f"autoscalers are {', '.join(scalers)}"
        return
    hpa = scalers["inference-service-hpa"]
    spec = hpa["spec"]
    if hpa["apiVersion"] != "autoscaling/v2" or (spec["minReplicas"], spec["maxReplicas"]) != (3, 20):
        yield "legacy-replicas", f"the autoscaler goes from {spec['minReplicas']} to {spec['maxReplicas']}, not from 3 to 20"
    metrics = {}
    for metric in spec["metrics"]:
        if metric["type"] == "Resource":
            metrics[metric["resource"]["name"]] = metric["resource"]["target"].get("averageUtilization")
        else:
            metrics[metric["pods"]["metric"]["name"]] = metric["pods"]["target"].get("averageValue")
    if metrics != {"cpu": 70, "memory": 80, "kafka_consumer_lag": "100"}:
        yield "legacy-metrics", f"the autoscaler looks at {metrics}"
    if spec["behavior"] != {"scaleDown": SCALE_DOWN, "scaleUp": SCALE_UP}:
        yield "legacy-behaviour", f"the autoscaler's behaviour is {spec['behavior']}"

"""What compose.yaml and the Dockerfile promise, held against the rendered compose file (JSON on standard input) and the
Dockerfile named by the first argument. Before that, a mistake is planted for every rule and has to be found."""

import copy
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "k8s/checks"))
import program  # noqa: E402  settings as the sources have them

DEFAULTS, TABLES = program.defaults()
STAGES = ["ingestion", "preprocessing", "caching", "prediction", "publishing"]
ONCE = {"topics"}
DRAIN = 20


def service_problems(name, service):
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    if not {"cpus", "memory"} <= set(limits):
        yield "limits", f"{name}: no CPU or memory limit"
    if name in ONCE:
        if not service.get("healthcheck", {}).get("disable"):
            yield "once", f"{name}: ends by itself, so it has no health to check"
    elif "test" not in service.get("healthcheck", {}):
        yield "health", f"{name}: no health check"
    if ":" not in service.get("image", "") or service["image"].endswith(":latest"):
        yield "pinned", f"{name}: image is not pinned to a version"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "privileges", f"{name}: may gain privileges"
    for port in service.get("ports", []):
        if port.get("host_ip") != "127.0.0.1":
            yield "loopback", f"{name}: port {port.get('target')} is not bound to loopback"


def own_problems(name, service):
    """Of the images that the Dockerfile makes."""
    if not service.get("read_only") or service.get("cap_drop") != ["ALL"] or service.get("user") != "65532:65532":
        yield "hardened", f"{name}: must be read-only, without capabilities and not root"
    if name not in ONCE and seconds(service.get("stop_grace_period", "10s")) <= DRAIN:
        yield "grace", f"{name}: killed before delivery.drain ({DRAIN} s) is over"
    if service.get("build", {}).get("target") != (name if name in STAGES else "forebay"):
        yield "target", f"{name}: built from another stage of the Dockerfile"
    if name in STAGES and service.get("healthcheck", {}).get("test") != ["CMD", f"/bin/forebay-{name}", "health"]:
        yield "self", f"{name}: the health check is not the program's own"
    if name not in {"ingestion"} and service.get("ports"):
        yield "ports", f"{name}: a published port stands in the way of --scale"
    if name in STAGES and service.get("depends_on", {}).get("topics", {}).get("condition") != "service_completed_successfully":
        yield "order", f"{name}: starts before the topics are there"
    environment = service.get("environment") or {}
    if name == "ingestion" and "FOREBAY__AUTH__KEYS_FILE" not in environment and environment.get("FOREBAY__AUTH__ANONYMOUS") != "true":
        yield "anonymous", f"{name}: requires credentials that it does not have"
    for variable in environment:
        key = variable.removeprefix("FOREBAY__").lower().replace("__", ".")
        if variable.startswith("FOREBAY__") and key not in DEFAULTS and not key.startswith(tuple(TABLES)):
            yield "setting", f"{name}: {variable} is no setting of any service"


def seconds(text):
    parts = re.findall(r"(\d+)(h|ms|m|s)", text)
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)


def problems(services, dockerfile):
    for name, service in services.items():
        yield from service_problems(name, service)
    for name in [*STAGES, *ONCE]:
        if name not in services:
            yield "missing", f"{name}: not in compose.yaml"
        else:
            yield from own_problems(name, services[name])
    names = re.search(r"- names: \[(.*?)\]", (ROOT / "compose/monitoring/prometheus.yml").read_text(encoding="utf-8")).group(1).split(", ")
    for name in names:
        if name not in services:
            yield "scraped", f"prometheus.yml scrapes {name}, which compose.yaml does not have"
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and not Path(volume["source"]).exists():
                yield "mounted", f"{name}: mounts {volume['source']}, which does not exist"
    yield from message_problems(services)
    yield from dockerfile_problems(dockerfile)


def message_problems(services):
    """RabbitMQ admits messages as large as ingestion reads, and ingestion counts on that."""
    arguments = services["rabbitmq"].get("environment", {}).get("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "")
    admitted = re.search(r"-rabbit max_message_size (\d+)", arguments)
    expected = services["ingestion"].get("environment", {}).get("FOREBAY__RABBITMQ__BROKER_MAX_MESSAGE", "")
    mib = re.fullmatch(r"(\d+)MiB", expected)
    if not admitted or not mib or int(admitted[1]) != int(mib[1]) << 20:
        yield "messages", f"rabbitmq admits messages of {admitted and admitted[1]} bytes, ingestion expects {expected or 'the default'}"
    environment = services["ingestion"].get("environment", {})
    host = re.match(r"redis://([\w-]+):", environment.get("FOREBAY__REDIS__URL", ""))
    command = services.get(host[1] if host else "", {}).get("command") or []
    if environment.get("FOREBAY__ASYNC__STORE") == "redis" and "noeviction" not in command:
        yield "evicted", "the Redis of answers that wait for their callers evicts them when it is full"


def dockerfile_problems(text):
    if re.search(r"^#\s*(syntax|escape)\s*=", text, re.M):
        yield "syntax", "Dockerfile: a syntax line needs a registry"
    if "<<" in text:
        yield "heredoc", "Dockerfile: heredocs need a newer front end"
    for image in re.findall(r"^FROM (\S+)", text, re.M):
        if not image.startswith("${") and not re.search(rf"^FROM \S+ AS {image}$", text, re.M):
            yield "base", f"Dockerfile: {image} is no build argument"
    for name in [*STAGES, "forebay"]:
        stage = re.search(rf"^FROM base AS {name}$(.*?)(?=^FROM|\Z)", text, re.M | re.S)
        program_name = "forebay" if name == "forebay" else f"forebay-{name}"
        if not stage or f'ENTRYPOINT ["/bin/{program_name}"]' not in stage[1] or f'["/bin/{program_name}", "health"]' not in stage[1]:
            yield "stage", f"Dockerfile: {name} does not start or check its own program"
    if not re.search(r"^USER 65532:65532$", text, re.M):
        yield "root", "Dockerfile: the images run as root"


def planted():
    """(rule, what it does to the services, what it does to the Dockerfile)"""

    def put(name, key, value):
        return lambda services: services[name].update({key: value})

    def drop(name, key):
        return lambda services: services[name].pop(key)

    yield "limits", put("redis", "deploy", {"replicas": 2}), None
    yield "once", put("topics", "healthcheck", {"test": ["CMD", "true"]}), None
    yield "health", drop("kafka", "healthcheck"), None
    yield "pinned", put("jaeger", "image", "jaegertracing/jaeger:latest"), None
    yield "privileges", put("grafana", "security_opt", []), None
    yield "loopback", lambda services: services["redis"]["ports"][0].update(host_ip="0.0.0.0"), None
    yield "hardened", put("caching", "read_only", False), None
    yield "grace", put("prediction", "stop_grace_period", "20s"), None
    yield "target", put("prediction", "build", {"target": "caching"}), None
    yield "self", put("prediction", "healthcheck", {"test": ["CMD", "wget"]}), None
    yield "ports", put("prediction", "ports", [{"target": 8000, "host_ip": "127.0.0.1"}]), None
    yield "order", drop("caching", "depends_on"), None
    yield "setting", put("caching", "environment", {"FOREBAY__REDIS__URI": "x"}), None
    yield "anonymous", lambda services: services["ingestion"]["environment"].pop("FOREBAY__AUTH__ANONYMOUS"), None
    yield "messages", drop("rabbitmq", "environment"), None
    yield "evicted", lambda services: services["ingestion"]["environment"].update(FOREBAY__REDIS__URL="redis://redis:6379"), None
    yield "missing", lambda services: services.pop("topics"), None
    yield "scraped", lambda services: services.pop("publishing"), None
    yield "mounted", put("prometheus", "volumes", [{"type": "bind", "source": "/nowhere/at/all"}]), None
    yield "syntax", None, lambda text: "# syntax=docker/dockerfile:1\n" + text
    yield "heredoc", None, lambda text: text + "RUN cat <<E\nE\n"
    yield "base", None, lambda text: text.replace("FROM ${RUN_IMAGE}", "FROM debian:bookworm-slim")
    yield "stage", None, lambda text: text.replace('ENTRYPOINT ["/bin/forebay-caching"]', 'ENTRYPOINT ["/bin/sh"]')
    yield "root", None, lambda text: text.replace("USER 65532:65532", "USER root")


def main():
    services = json.load(sys.stdin)["services"]
    dockerfile = Path(sys.argv[1]).read_text(encoding="utf-8")
    count, blind = 0, []
    for rule, change, edit in planted():
        broken = copy.deepcopy(services)
        if change:
            change(broken)
        count += 1
        if rule not in {found for found, _ in problems(broken, edit(dockerfile) if edit else dockerfile)}:
            blind.append(rule)
    wrong = [line for _, line in problems(services, dockerfile)]
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    for rule in blind:
        print(f"the planted mistake for {rule} was not found", file=sys.stderr)
    if wrong or blind:
        sys.exit(1)
    print(f"compose.yaml and Dockerfile: {len(services)} services hold their promises; all {count} planted mistakes found")
    print(f"{count} passed, 0 failed")


main()

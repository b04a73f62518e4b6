"""The command line and the environment. A flag comes before its variable, the variable before the default."""

import argparse
import os
import re
from dataclasses import dataclass

APP = "BatchInferencePipeline"
# What a child reads from the environment: where models are, which credentials it uses, and how rows are checked.
_CHILD = re.compile(r"FOREBAY__(MODELS|PREPROCESSING)__|FOREBAY_CONFIG$|MLFLOW_(TRACKING|REGISTRY)_|DATABRICKS_(HOST|TOKEN)$")


class SettingsError(ValueError):
    """All problems at once, a line each."""


@dataclass(frozen=True)
class Settings:
    """`kafka`: options of Spark's Kafka source and sink; `registry` "" means that of the environment."""

    kafka: tuple
    requests: str
    results: str
    dead_letters: str
    group: str
    checkpoint: str
    max_offsets: int
    starting: str
    fail_on_data_loss: bool
    once: bool
    forebay: str
    registry: str
    model: str
    stage: str
    timeout: float
    child_environment: tuple

    def __repr__(self):
        shown = {name: value for name, value in vars(self).items() if name not in ("kafka", "child_environment")}
        shown["registry"] = re.sub(r"//[^/@]*@", "//***@", self.registry)
        secret = re.compile(r"jaas|password|secret|token|key(?!store\.type)", re.I)
        shown["kafka"] = {name: "***" if secret.search(name) else value for name, value in self.kafka}
        return f"Settings({shown})"


def parser():
    command = argparse.ArgumentParser(prog="forebay_batch", description="Scores a Kafka topic in micro-batches with Spark.")
    add = command.add_argument
    add("--brokers", help="bootstrap servers (FOREBAY__KAFKA__BROKERS, KAFKA_BROKER; default localhost:9092)")
    add("--requests", help="topic of requests (default inference-requests, or EVENTHUB_NAME)")
    add("--results", help="topic of results (default inference-results-batch; inference-results replaces the mesh)")
    add("--dead-letters", help='topic for records that cannot be read, "" for none (default forebay.dead-letters; none on Event Hubs)')
    add("--group", help="consumer group (FOREBAY_BATCH_GROUP; default batch-inference)")
    add("--checkpoint", help="folder that survives the job (FOREBAY_BATCH_CHECKPOINT; default /mnt/checkpoints/batch-inference)")
    add("--max-offsets", type=int, default=1000, help="most records of a micro-batch (default 1000)")
    add("--starting", choices=["earliest", "latest"], default="earliest", help="where a job without a checkpoint begins")
    add("--allow-data-loss", action="store_true", help="continue when records were deleted before they were read")
    add("--once", action="store_true", help="end when everything that was there at the start is done")
    add("--forebay", help="the forebay binary: a path, or a name to find among --files and in PATH (FOREBAY_BATCH_BINARY; default forebay)")
    add("--registry", help="registry of models (FOREBAY__MODELS__REGISTRY, MLFLOW_TRACKING_URI; default: the built-in sample)")
    add("--timeout", type=float, default=120.0, help="seconds a model may take for 256 rows, its loading included (default 120)")
    add("--kafka-option", action="append", default=[], metavar="NAME=VALUE", help="for Kafka's clients, for example security.protocol=SASL_SSL")
    return command


def of(arguments, environ=None):
    """The settings.

    Raises SettingsError with all problems; argparse ends the process for unknown flags.
    """
    environ = os.environ if environ is None else environ
    given = parser().parse_args(arguments)
    first = lambda *names, default="": next((environ[name] for name in names if environ.get(name)), default)
    problems = []
    hubs = _event_hubs(environ, problems)
    requests = given.requests or (first("EVENTHUB_NAME", default="inference-requests") if hubs else "inference-requests")
    results = given.results or (f"{requests}-results-batch" if hubs else "inference-results-batch")
    dead_letters = given.dead_letters if given.dead_letters is not None else "" if hubs else "forebay.dead-letters"
    kafka = {"kafka.bootstrap.servers": given.brokers or first("FOREBAY__KAFKA__BROKERS", "KAFKA_BROKER", default="localhost:9092")}
    kafka |= hubs or {}
    for option in given.kafka_option:
        name, is_there, value = option.partition("=")
        kafka["kafka." + name.removeprefix("kafka.")] = value
        if not is_there:
            problems.append(f"--kafka-option {option}: expected NAME=VALUE")
    if requests in (results, dead_letters):
        problems.append(f"--results, --dead-letters: {requests} is the topic of requests, which would feed itself")
    if given.max_offsets < 1 or not given.timeout > 0:
        problems.append("--max-offsets and --timeout must be above 0")
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(
        kafka=tuple(sorted(kafka.items())),
        requests=requests,
        results=results,
        dead_letters=dead_letters,
        group=given.group or first("FOREBAY_BATCH_GROUP", default="batch-inference"),
        checkpoint=given.checkpoint or first("FOREBAY_BATCH_CHECKPOINT", default="/mnt/checkpoints/batch-inference"),
        max_offsets=given.max_offsets,
        starting=given.starting,
        fail_on_data_loss=not given.allow_data_loss,
        once=given.once,
        forebay=given.forebay or first("FOREBAY_BATCH_BINARY", default="forebay"),
        registry=given.registry or first("FOREBAY__MODELS__REGISTRY", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"),
        model=first("FOREBAY__MODELS__NAME", "MODEL_NAME", default="diabetes-rf-model"),
        stage=first("FOREBAY__MODELS__STAGE", "MODEL_STAGE", default="Production"),
        timeout=given.timeout,
        child_environment=tuple(sorted((name, value) for name, value in environ.items() if _CHILD.match(name))),
    )


def _event_hubs(environ, problems):
    """The Kafka options that a connection string of Event Hubs stands for; None when none is used."""
    connection, wanted = environ.get("EVENTHUB_CONNECTION", ""), environ.get("USE_EVENTHUB", "").strip().lower()
    if wanted in ("false", "0", "no") or (not connection and wanted not in ("true", "1", "yes")):
        return None
    parts = dict(part.split("=", 1) for part in connection.strip().strip(";").split(";") if "=" in part)
    host = re.fullmatch(r"sb://([A-Za-z0-9.-]+)(?::\d+)?/?", parts.get("Endpoint", ""))
    if not host or not parts.get("SharedAccessKeyName") or not parts.get("SharedAccessKey") or '"' in connection:
        problems.append("EVENTHUB_CONNECTION: expected Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=...;SharedAccessKey=...")
        return {}
    # Databricks ships Kafka's client under another name
    shaded = "kafkashaded." if environ.get("DATABRICKS_RUNTIME_VERSION") else ""
    login = f'{shaded}org.apache.kafka.common.security.plain.PlainLoginModule required username="$ConnectionString" password="{connection.strip()}";'
    return {
        "kafka.bootstrap.servers": f"{host.group(1)}:9093",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "PLAIN",
        "kafka.sasl.jaas.config": login,
        "kafka.request.timeout.ms": "60000",
        "kafka.session.timeout.ms": "30000",
        "kafka.metadata.max.age.ms": "180000",
        "kafka.connections.max.idle.ms": "180000",
        "kafka.max.request.size": "1000000",
        "kafka.compression.type": "none",
        "kafka.enable.idempotence": "false",
    }

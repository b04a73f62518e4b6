"""Where producer.py and consumer.py connect to: EVENTHUB_CONNECTION if it is set (and USE_EVENTHUB is not false), else KAFKA_BROKER.

More options for the client, for example of a test: KAFKA_OPTIONS="ssl.ca.location=/etc/ca.pem security.protocol=SSL".
"""

import os
import re


def event_hubs():
    return bool(os.environ.get("EVENTHUB_CONNECTION")) and os.environ.get("USE_EVENTHUB", "true").lower() not in ("false", "0", "no")


def client_settings():
    settings = {"bootstrap.servers": os.environ.get("KAFKA_BROKER", "localhost:9092")}
    if event_hubs():
        connection = os.environ["EVENTHUB_CONNECTION"].strip()
        host = re.search(r"Endpoint=sb://([A-Za-z0-9.-]+)(?::(\d+))?", connection)
        if not host:
            raise SystemExit("EVENTHUB_CONNECTION: expected Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=...;SharedAccessKey=...")
        settings = {
            "bootstrap.servers": f"{host.group(1)}:{host.group(2) or 9093}",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "$ConnectionString",
            "sasl.password": connection,
            "socket.keepalive.enable": True,  # the gateway drops silent connections
            "connections.max.idle.ms": 180000,
            "metadata.max.age.ms": 180000,
            "message.max.bytes": 1000000,  # it closes the connection of a larger request
        }
    return settings | dict(option.split("=", 1) for option in os.environ.get("KAFKA_OPTIONS", "").split())


def requests_topic():
    return os.environ.get("EVENTHUB_NAME", "inference-requests") if event_hubs() else "inference-requests"


def results_topic():
    return f"{requests_topic()}-results" if event_hubs() else "inference-results"


def default_group():
    # not $Default: over Kafka a group is one of the whole namespace, and that one is the service's own
    return "results-reader"

#!/usr/bin/env python3
"""Reads the results of a mesh with Confluent's own deserializers, and compares them with its answers over HTTP.

usage: result_schemas_cases.py BROKERS REGISTRY REQUESTS RESULTS KIND URL     (pip: schemas_requirements.txt)

REGISTRY is an address with Confluent's API, REQUESTS and RESULTS are topics, KIND is AVRO, JSON or PROTOBUF, the kind of
the schema that has to be registered under RESULTS-value, URL is the mesh over HTTP. Prints the schema's id; exits 1 if a result differs.
"""
import importlib
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc

ROWS = [[round(0.01 * row - 0.004 * column, 6) for column in range(10)] for row in range(2)]
REQUESTS = {"0": {"features": ROWS[0]}, "1": {"features": ROWS[1], "output": "predict"}, "wrong": {"features": ROWS[0][:3]}}


PROTO = Path(__file__).parents[2] / "services/publishing/src/result_schema/result.proto"


def protobuf_reader():
    """Reads a message of the class that protoc makes of the schema, as the document in JSON that it stands for."""
    folder = tempfile.mkdtemp()
    assert protoc.main(["protoc", f"-I{PROTO.parent}", f"--python_out={folder}", PROTO.name]) == 0
    sys.path.insert(0, folder)
    deserialize = ProtobufDeserializer(importlib.import_module("result_pb2").Result, {"use.deprecated.format": False})

    def read(value, context):
        result = MessageToDict(deserialize(value, context), preserving_proto_field_name=True)
        prediction = result.get("prediction")
        result["prediction"] = prediction and next(iter(prediction.values()))
        # the mapping to JSON writes 64-bit integers as text, and leaves out zeros
        return result | {"timestamp": int(result["timestamp"]), "latency_ms": result.get("latency_ms", 0)}

    return read


def deserializer(kind, client):
    if kind == "PROTOBUF":
        return protobuf_reader()
    return AvroDeserializer(client) if kind == "AVRO" else JSONDeserializer(None, schema_registry_client=client)


def predictions(url, rows):
    request = urllib.request.Request(f"{url}/v1/predict", json.dumps({"features": rows}).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["predictions"]


def main(brokers, registry, requests, results, kind, url):
    client, producer = SchemaRegistryClient({"url": registry}), Producer({"bootstrap.servers": brokers})
    registered = client.get_latest_version(f"{results}-value")
    assert registered.schema.schema_type == kind, registered
    deserialize = deserializer(kind, client)
    for name, request in REQUESTS.items():
        producer.produce(requests, json.dumps(request | {"request_id": name}))
    assert producer.flush(30) == 0
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "result-schemas", "auto.offset.reset": "earliest"})
    consumer.subscribe([results])
    context, found, until = SerializationContext(results, MessageField.VALUE), {}, time.monotonic() + 60
    while time.monotonic() < until and len(found) < len(REQUESTS):
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        value = message.value()
        assert value[0] == 0 and int.from_bytes(value[1:5], "big") == registered.schema_id, value
        result = deserialize(value, context)
        found[result["request_id"]] = result
    consumer.close()
    print(found)
    want = predictions(url, ROWS)
    assert [found[name]["prediction"] for name in "01"] == want, (found, want)
    assert all(found[name]["model_version"] and found[name]["model"] for name in "01"), found
    wrong = found["wrong"]
    assert wrong["prediction"] is None and wrong["error"]["code"] == "invalid_features", wrong
    assert isinstance(wrong["timestamp"], int) and wrong["latency_ms"] >= 0, wrong
    print(f"id {registered.schema_id}")


if __name__ == "__main__":
    main(*sys.argv[1:])

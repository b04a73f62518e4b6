#!/usr/bin/env python3
"""Sends requests to a mesh with Confluent's own serializers (Avro, JSON Schema and Protobuf in one topic), and compares the
results with those of requests in JSON.

usage: schemas_cases.py BROKERS REGISTRY REQUESTS RESULTS DEAD_LETTERS     (pip: schemas_requirements.txt)

REGISTRY is an address with Confluent's API, the other names are topics. Exits 1 if a result is missing or differs.
"""
import importlib
import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.schema_registry.serde import SchemaId
from confluent_kafka.serialization import MessageField, SerializationContext

NAMES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
ROWS = [[round(0.01 * row - 0.004 * column, 6) for column in range(10)] for row in range(6)]
REQUEST = {"type": "record", "name": "Request", "namespace": "shop", "fields": [
    {"name": "request_id", "type": "string"},
    {"name": "model_version", "type": ["null", "string"], "default": None},
    {"name": "features", "type": {"type": "array", "items": "double"}}]}
NAMED = {"type": "record", "name": "Named", "namespace": "shop", "fields": [
    {"name": "request_id", "type": "string"},
    {"name": "features", "type": {"type": "record", "name": "Row", "fields": [{"name": name, "type": "double"} for name in NAMES]}}]}
ROW = {"type": "record", "name": "PlainRow", "fields": [{"name": name, "type": ["null", "double"]} for name in NAMES]}
ENVELOPE = {"type": "record", "name": "Envelope", "namespace": "shop", "fields": [
    {"name": "request_id", "type": "string"}, {"name": "features", "type": "shop.Features"}]}
FEATURES = {"type": "record", "name": "Features", "namespace": "shop", "fields": [{"name": name, "type": "double"} for name in NAMES]}
JSON_SCHEMA = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Request", "type": "object",
               "properties": {"request_id": {"type": "string"}, "features": {"type": "array", "items": {"type": "number"}}}}

# Features is a file of its own; a column that is 0 is not written, since it has no presence.
PROTOS = {
    "shop/features.proto": """
syntax = "proto3";
package shop;
message Features { %s }
""" % " ".join(f"double {name} = {at};" for at, name in enumerate(NAMES, 1)),
    "shop/requests.proto": """
syntax = "proto3";
package shop;
import "google/protobuf/wrappers.proto";
import "google/protobuf/timestamp.proto";
import "shop/features.proto";
message Envelope {
  message Named { string request_id = 1; Features features = 2; }
  message Wrapped { string request_id = 1; WrappedRow features = 2; google.protobuf.Timestamp sent = 3; }
  message WrappedRow { %s }
}
message Request { string request_id = 1; optional string model_version = 2; repeated double features = 3; int32 priority = 4; }
message Mapped { string request_id = 1; map<string, double> features = 2; }
message Row { %s }
""" % (
        " ".join(f"google.protobuf.DoubleValue {name} = {at};" for at, name in enumerate(NAMES, 1)),
        " ".join(f"optional double {name} = {at};" for at, name in enumerate(NAMES, 1)),
    ),
}


def generated(folder):
    """The modules that protoc writes."""
    for name, source in PROTOS.items():
        Path(folder, name).parent.mkdir(exist_ok=True)
        Path(folder, name).write_text(source)
    google = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    assert protoc.main(["protoc", f"-I{folder}", f"-I{google}", f"--python_out={folder}", *PROTOS]) == 0
    sys.path.insert(0, folder)
    return [importlib.import_module(f"shop.{name}_pb2") for name in ("requests", "features")]


def protobuf_kinds(client, folder):
    """As `kinds`: serializers of Protobuf, each with what it takes."""
    shop, features = generated(folder)
    subject = {"subject.name.strategy": lambda *_: "protobuf"}

    def of(kind, make):
        serialize = ProtobufSerializer(kind, client, subject)
        return lambda value, context: serialize(make(**value), context)

    def named(request_id, features_of):
        return shop.Envelope.Named(request_id=request_id, features=features.Features(**features_of))

    def wrapped(request_id, features):
        message = shop.Envelope.Wrapped(request_id=request_id)
        message.sent.GetCurrentTime()
        for name, number in features.items():
            if number is not None:
                getattr(message.features, name).value = number
        return message

    row, array = dict(zip(NAMES, ROWS[0])), {"features": ROWS[0]}
    return {
        "protobuf array": (of(shop.Request, shop.Request), array),
        "protobuf version": (of(shop.Request, shop.Request), array | {"model_version": "v1"}),
        "protobuf nested": (of(shop.Envelope.Named, named), {"features_of": row}),
        "protobuf wrapped": (of(shop.Envelope.Wrapped, wrapped), {"features": row}),
        "protobuf map": (of(shop.Mapped, shop.Mapped), {"features": row}),
        "protobuf missing": (of(shop.Envelope.Wrapped, wrapped), {"features": row | {"bmi": None}}),
        "protobuf default": (of(shop.Envelope.Named, named), {"features_of": {"bmi": 0.5}}),
    }, of(shop.Row, shop.Row)


def in_header(payload, context, _):
    """The serializer's other place for an id, with one that this registry would not give."""
    return header_schema_id_serializer(payload, context, SchemaId("AVRO", guid=str(uuid.uuid4())))


def main(brokers, registry, requests, results, dead_letters):
    client, producer = SchemaRegistryClient({"url": registry}), Producer({"bootstrap.servers": brokers})
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "schemas-cases", "auto.offset.reset": "earliest"})
    consumer.subscribe([results, dead_letters])

    def avro(schema, subject):
        return AvroSerializer(client, json.dumps(schema), conf={"subject.name.strategy": lambda *_: subject})

    client.register_schema("shop-features", Schema(json.dumps(FEATURES), "AVRO"))
    reference = Schema(json.dumps(ENVELOPE), "AVRO", [SchemaReference("shop.Features", "shop-features", 1)])
    rows = [dict(zip(NAMES, row)) for row in ROWS]
    kinds = {
        "plain": (lambda value, _: json.dumps(value).encode(), {"features": ROWS[0]}),
        "array": (avro(REQUEST, "array"), {"features": ROWS[0], "model_version": None}),
        "version": (avro(REQUEST, "array"), {"features": ROWS[0], "model_version": "v1"}),
        "named": (avro(NAMED, "named"), {"features": rows[0]}),
        "reference": (AvroSerializer(client, reference, conf={"subject.name.strategy": lambda *_: "envelope"}), {"features": rows[0]}),
        "json schema": (JSONSerializer(json.dumps(JSON_SCHEMA), client), {"features": ROWS[0]}),
    }
    folder = tempfile.TemporaryDirectory()
    of_protobuf, protobuf_row = protobuf_kinds(client, folder.name)
    kinds |= of_protobuf
    half = dict.fromkeys(NAMES, 0.0) | {"bmi": 0.5}
    plain = {"row in JSON": ROWS[1], "protobuf row in JSON": ROWS[2], "missing in JSON": rows[0] | {"bmi": None}, "default in JSON": half}
    context = SerializationContext(requests, MessageField.VALUE)
    for name, (serialize, value) in kinds.items():
        producer.produce(requests, serialize(value | {"request_id": name}, context))
    row = avro(ROW, "row")(dict(zip(NAMES, ROWS[1])), context)
    of_protobuf = protobuf_row(dict(zip(NAMES, ROWS[2])), context)
    for nameless in row, of_protobuf:
        producer.produce(requests, nameless)
    for name, features in plain.items():
        producer.produce(requests, json.dumps({"request_id": name, "features": features}))
    wrong = {
        "unknown id": b"\0\0\x7f\xff\xff" + row[5:],
        "cut off": row[:-3],
        "cut off protobuf": of_protobuf[:-3],
        "no such message": of_protobuf[:5] + b"\x02\x7e" + of_protobuf[7:],
    }
    for value in wrong.values():
        producer.produce(requests, value)
    headers = SerializationContext(requests, MessageField.VALUE, headers=[])
    conf = {"subject.name.strategy": lambda *_: "row", "schema.id.serializer": in_header}
    wrong["header"] = AvroSerializer(client, json.dumps(ROW), conf=conf)(dict(zip(NAMES, ROWS[1])), headers)
    producer.produce(requests, wrong["header"], headers=headers.headers)
    assert producer.flush(30) == 0

    answers, nameless, dead, until = {}, [], {}, time.monotonic() + 60
    expected = len(kinds) + len(plain)
    while time.monotonic() < until and (len(answers) < expected or len(nameless) < 2 or len(dead) < len(wrong)):
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        if message.topic() == dead_letters:
            dead[message.value()] = dict(message.headers())["__connect.errors.exception.message"].decode()
            continue
        result = json.loads(message.value())
        outcome = result["error"] if result["prediction"] is None else result["prediction"]
        if result["request_id"]:
            answers[result["request_id"]] = outcome
        else:
            nameless.append(outcome)
    consumer.close()
    print(answers, nameless, dead)
    for version in "version", "protobuf version":
        assert isinstance(answers[version], float) and answers[version] != answers["plain"], answers
    assert answers.pop("version") == answers.pop("protobuf version"), answers
    assert sorted(nameless) == sorted([answers.pop("row in JSON"), answers.pop("protobuf row in JSON")]), nameless
    for name in "missing", "default":
        assert answers.pop(f"protobuf {name}") == answers.pop(f"{name} in JSON"), (name, answers)
    assert isinstance(answers["plain"], float), answers
    assert len(answers) == expected - 8 and set(answers.values()) == {answers["plain"]}, answers
    assert set(dead) == set(wrong.values()), dead
    reasons = {name: dead[value] for name, value in wrong.items()}
    assert "__value_schema_id" in reasons["header"], reasons
    assert "the record ends inside a value" in reasons["cut off protobuf"], reasons
    assert "the schema has no message [63]" in reasons["no such message"], reasons


if __name__ == "__main__":
    main(*sys.argv[1:])

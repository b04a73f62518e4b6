#!/usr/bin/env python3
"""Sends requests to a mesh with Confluent's own serializers, and compares the results with those of requests in JSON.

usage: schemas_cases.py BROKERS REGISTRY REQUESTS RESULTS DEAD_LETTERS     (pip: schemas_requirements.txt)

REGISTRY is an address with Confluent's API, the other names are topics. Exits 1 if a result is missing or differs.
"""
import json
import sys
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
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
    context = SerializationContext(requests, MessageField.VALUE)
    for name, (serialize, value) in kinds.items():
        producer.produce(requests, serialize(value | {"request_id": name}, context))
    row = avro(ROW, "row")(dict(zip(NAMES, ROWS[1])), context)
    producer.produce(requests, row)
    producer.produce(requests, json.dumps({"request_id": "row in JSON", "features": ROWS[1]}))
    wrong = {"unknown id": b"\0\0\x7f\xff\xff" + row[5:], "cut off": row[:-3]}
    for value in wrong.values():
        producer.produce(requests, value)
    assert producer.flush(30) == 0

    answers, nameless, dead, until = {}, [], [], time.monotonic() + 60
    while time.monotonic() < until and (len(answers) < len(kinds) + 1 or not nameless or len(dead) < len(wrong)):
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        if message.topic() == dead_letters:
            dead.append(message.value())
            continue
        result = json.loads(message.value())
        if result["request_id"]:
            answers[result["request_id"]] = result["prediction"]
        else:
            nameless.append(result["prediction"])
    consumer.close()
    print(answers, nameless, len(dead))
    version = answers.pop("version")
    assert answers.pop("row in JSON") == nameless[0] and len(nameless) == 1, nameless
    assert set(answers) == set(kinds) - {"version"} and set(answers.values()) == {answers["plain"]}, answers
    assert isinstance(version, float) and version != answers["plain"], version
    assert sorted(dead) == sorted(wrong.values()), dead


if __name__ == "__main__":
    main(*sys.argv[1:])

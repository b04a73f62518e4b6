"""Sends requests to Forebay over Kafka or Event Hubs, as a notebook would: python producer.py [COUNT] [SECONDS BETWEEN]

Kafka:      KAFKA_BROKER (default localhost:9092)
Event Hubs: EVENTHUB_CONNECTION, EVENTHUB_NAME (default inference-requests)
Needs:      pip install confluent-kafka
"""

import json
import random
import sys
import time

from confluent_kafka import Producer

from connection import client_settings, requests_topic


def request(request_id, features, model_version=None):
    """One request. Without a version the Production version answers."""
    body = {"request_id": request_id, "features": features}
    if model_version:
        body["model_version"] = model_version
    return json.dumps(body)


def random_row():
    """age, sex, bmi, bp, s1 .. s6, scaled as in the diabetes data set."""
    return [round(random.gauss(0, 0.047), 6) for _ in range(10)]


def main(count=100, pause=0.1):
    failed = []

    def delivered(error, message):
        if error is not None:
            failed.append(str(error))

    producer = Producer({**client_settings(), "acks": "all", "linger.ms": 5})
    last = 0
    for _ in range(count):
        last = max(last + 1, int(time.time() * 1000))  # ids stay apart when two fall into one millisecond
        producer.produce(requests_topic(), request(f"req_{last}", random_row()), on_delivery=delivered)
        producer.poll(0)
        time.sleep(pause)
    left = producer.flush(30)
    print(f"sent {count - left - len(failed)} of {count} requests to {requests_topic()}")
    for error in sorted(set(failed)):
        print(error, file=sys.stderr)
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main(*(kind(text) for kind, text in zip((int, float), sys.argv[1:]))))

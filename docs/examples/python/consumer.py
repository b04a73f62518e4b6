"""Prints results of Forebay from Kafka or Event Hubs, as a notebook would: python consumer.py [COUNT] [SECONDS]

Ends after COUNT results or SECONDS without one; without arguments it runs until it is interrupted.
Kafka:      KAFKA_BROKER (default localhost:9092)
Event Hubs: EVENTHUB_CONNECTION, EVENTHUB_NAME (default inference-requests; results are in EVENTHUB_NAME-results)
RESULTS_GROUP (default results-reader), RESULTS_FROM (earliest or latest, the default)
Needs:      pip install confluent-kafka
"""

import json
import math
import os
import sys
import time

from confluent_kafka import Consumer, KafkaException

from connection import client_settings, default_group, results_topic


def line_of(result):
    """A readable line. `model_version` is the version that answered; `fallback_from` the requested one that could not answer."""
    error = result.get("error")
    if error:
        return f"{result['request_id']}: {error['code']}: {error['message']}"
    fallback = f" in place of {result['fallback_from']}" if result.get("fallback_from") else ""
    return f"{result['request_id']}: {result['prediction']} by {result['model_version']}{fallback}"


def main(count=math.inf, idle_seconds=math.inf):
    group, start = os.environ.get("RESULTS_GROUP", default_group()), os.environ.get("RESULTS_FROM", "latest")
    consumer = Consumer({**client_settings(), "group.id": group, "auto.offset.reset": start})
    consumer.subscribe([results_topic()], on_assign=lambda *_: print(f"reading {results_topic()}", file=sys.stderr, flush=True))
    seen, last = 0, time.monotonic()
    try:
        while seen < count and time.monotonic() - last < idle_seconds:
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            print(line_of(json.loads(message.value())), flush=True)
            seen, last = seen + 1, time.monotonic()
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()
    return 0 if seen >= count or math.isinf(count) else 1


if __name__ == "__main__":
    sys.exit(main(*(kind(text) for kind, text in zip((int, float), sys.argv[1:]))))

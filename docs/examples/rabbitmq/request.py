"""Sends requests to Forebay over RabbitMQ and waits for the answers: python request.py [COUNT]

RABBITMQ_URL  (default amqp://guest:guest@localhost:5672/%2f)
QUEUE         (default inference-requests)
Needs:        pip install pika
"""

import json
import os
import random
import sys
import uuid

import pika

TIMEOUT_MS = 5000


def publish(channel, queue, replies, body, priority=0):
    """Publishes one request and returns its label. The server confirms it before this returns, or this raises."""
    label = str(uuid.uuid4())
    properties = pika.BasicProperties(
        reply_to=replies,
        correlation_id=label,  # comes back with the answer
        message_id=label,  # the same id again is the same request: safe to publish once more
        priority=priority,  # 9 goes first
        expiration=str(TIMEOUT_MS),  # in the queue, and the deadline of the answer from there on
        delivery_mode=2,
        content_type="application/json",
    )
    channel.basic_publish("", queue, json.dumps(body), properties, mandatory=True)
    return label


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    url = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/%2f")
    queue = os.environ.get("QUEUE", "inference-requests")
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        # a queue of one's own; a client that restarts and still wants its answers names a durable one instead
        replies = channel.queue_declare("", exclusive=True).method.queue
        waiting = set()
        for _ in range(count):
            row = [round(random.gauss(0, 0.047), 6) for _ in range(10)]
            waiting.add(publish(channel, queue, replies, {"features": row, "model_version": "v1"}))
        for method, properties, body in channel.consume(replies, inactivity_timeout=TIMEOUT_MS / 1000):
            if method is None:
                sys.exit(f"{len(waiting)} of {count} requests have no answer: expired in the queue, or the queue has no consumer")
            channel.basic_ack(method.delivery_tag)
            if properties.correlation_id not in waiting:
                continue  # a repeat, after a connection broke somewhere
            waiting.discard(properties.correlation_id)
            answer = json.loads(body)
            print(properties.correlation_id, answer.get("error") or answer["prediction"])
            if not waiting:
                break


if __name__ == "__main__":
    main()

"""Usage: acls.py RENDERED.yaml INSIDE OUTSIDE : gives every KafkaUser its rights over the address INSIDE, as the Strimzi operator does,
and waits until the users see their topics over OUTSIDE.
acls.py --refused BROKER USER TOPIC : succeeds when the broker refuses a record of that user for that topic."""

import re
import sys
import time

import yaml
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, KafkaAdminClient, ResourcePattern, ResourceType
from kafka.errors import TopicAuthorizationFailedError


def grant(path, inside, outside):
    with open(path, encoding="utf-8") as handle:
        users = [doc for doc in yaml.safe_load_all(handle) if doc and doc["kind"] == "KafkaUser"]
    acls = []
    for user in users:
        for rule in user["spec"]["authorization"]["acls"]:
            resource = rule["resource"]
            kind = {"transactionalId": "TRANSACTIONAL_ID"}.get(resource["type"], resource["type"].upper())
            pattern = ResourcePattern(ResourceType[kind], resource["name"], ACLResourcePatternType["PREFIXED" if resource["patternType"] == "prefix" else "LITERAL"])
            for operation in rule["operations"]:
                acls.append(ACL(f"User:{user['metadata']['name']}", "*", ACLOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()], ACLPermissionType.ALLOW, pattern))
    # the load generator's clients have a group of their own
    load = ResourcePattern(ResourceType.GROUP, "forebay-loadtest", ACLResourcePatternType.LITERAL)
    acls.append(ACL("User:inference-client", "*", ACLOperation.READ, ACLPermissionType.ALLOW, load))
    admin = KafkaAdminClient(bootstrap_servers=inside)
    made = admin.create_acls(acls)
    if made["failed"]:
        sys.exit(f"not granted: {made['failed']}")
    for user in users:
        rules = (rule["resource"] for rule in user["spec"]["authorization"]["acls"])
        await_topics(outside, user["metadata"]["name"], {r["name"] for r in rules if r["type"] == "topic" and r["patternType"] == "literal"})
    print(f"{len(made['succeeded'])} rights of {len(users)} users granted")


def login(user):
    return {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": user, "sasl_plain_password": f"{user}-password"}


def await_topics(broker, user, topics):
    """A broker learns of rights a moment after they were granted."""
    consumer = KafkaConsumer(bootstrap_servers=broker, **login(user))
    deadline = time.monotonic() + 30
    while not topics <= set(consumer.topics()):
        if time.monotonic() > deadline:
            sys.exit(f"{user} does not see {sorted(topics - set(consumer.topics()))}")
        time.sleep(0.2)
    consumer.close()


def refused(broker, user, topic):
    producer = KafkaProducer(bootstrap_servers=broker, max_block_ms=20000, enable_idempotence=False, **login(user))
    try:
        producer.send(topic, b"{}").get(timeout=20)
    except TopicAuthorizationFailedError:
        return
    sys.exit(f"{user} could write to {topic}")


if __name__ == "__main__":
    refused(*sys.argv[2:]) if sys.argv[1] == "--refused" else grant(*sys.argv[1:])

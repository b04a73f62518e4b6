"""Usage: acls.py RENDERED.yaml BROKER : gives every KafkaUser its rights, as the Strimzi operator does.
acls.py --refused BROKER USER TOPIC : succeeds when the broker refuses a record of that user for that topic."""

import sys

import yaml
from kafka import KafkaProducer
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, KafkaAdminClient, ResourcePattern, ResourceType
from kafka.errors import TopicAuthorizationFailedError


def grant(path, broker):
    with open(path, encoding="utf-8") as handle:
        users = [doc for doc in yaml.safe_load_all(handle) if doc and doc["kind"] == "KafkaUser"]
    acls = []
    for user in users:
        for rule in user["spec"]["authorization"]["acls"]:
            resource = rule["resource"]
            pattern = ResourcePattern(ResourceType[resource["type"].upper()], resource["name"], ACLResourcePatternType["PREFIXED" if resource["patternType"] == "prefix" else "LITERAL"])
            for operation in rule["operations"]:
                acls.append(ACL(f"User:{user['metadata']['name']}", "*", ACLOperation[operation.upper()], ACLPermissionType.ALLOW, pattern))
    # the load generator's clients have a group of their own
    load = ResourcePattern(ResourceType.GROUP, "forebay-loadtest", ACLResourcePatternType.LITERAL)
    acls.append(ACL("User:inference-client", "*", ACLOperation.READ, ACLPermissionType.ALLOW, load))
    admin = KafkaAdminClient(bootstrap_servers=broker)
    made = admin.create_acls(acls)
    if made["failed"]:
        sys.exit(f"not granted: {made['failed']}")
    print(f"{len(made['succeeded'])} rights of {len(users)} users granted")


def refused(broker, user, topic):
    producer = KafkaProducer(bootstrap_servers=broker, security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
                             sasl_plain_username=user, sasl_plain_password=f"{user}-password", max_block_ms=20000, enable_idempotence=False)
    try:
        producer.send(topic, b"{}").get(timeout=20)
    except TopicAuthorizationFailedError:
        return
    sys.exit(f"{user} could write to {topic}")


if __name__ == "__main__":
    refused(*sys.argv[2:]) if sys.argv[1] == "--refused" else grant(*sys.argv[1:])

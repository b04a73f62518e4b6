"""Topics and users of the Strimzi components are those of the program."""

import program
from rendering import config_of, name_of, of_kind, services, stage_of

TOPICS = {name: (setting, retention) for setting, name, retention in program.topics()}
INNER = {"requests", "features", "predict", "predictions", "results"}
# Topics that a stage reads and writes, by setting.
READS, WRITES = program.readers_and_writers()
GROUPS = {"ingestion": "inference-service"}
# Rights that the topology does not tell: ingestion warns of settings of the clients' topic, publishing may use transactions.
DESCRIBES_SETTINGS = {"ingestion": "requests_in"}
TRANSACTIONS = {"publishing": "forebay-publishing-"}


def check(docs):
    topics = {name_of(topic): topic["spec"] for topic in of_kind(docs, "KafkaTopic")}
    if topics:
        yield from check_topics(topics, docs)
    users = {name_of(user): user["spec"] for user in of_kind(docs, "KafkaUser")}
    if users:
        yield from check_users(users)


def check_topics(topics, docs):
    if set(topics) != set(TOPICS):
        yield "topics", f"topics differ from the program's: {', '.join(sorted(set(topics) ^ set(TOPICS)))}"
    inner = {name: spec["partitions"] for name, spec in topics.items() if TOPICS.get(name, ("",))[0] in INNER}
    if len(set(inner.values())) > 1:
        yield "inner-partitions", f"inner topics have different numbers of partitions: {inner}"
    for name, spec in topics.items():
        retention = TOPICS.get(name, ("", None))[1]
        config = spec.get("config", {})
        if retention == "compacted" and config.get("cleanup.policy") != "compact":
            yield "compaction", f"topic {name} is not compacted"
        elif isinstance(retention, int) and config.get("retention.ms") != retention:
            yield "retention", f"topic {name} keeps records for {config.get('retention.ms')} ms, the program says {retention}"
        if config.get("min.insync.replicas", 1) >= spec["replicas"]:
            yield "in-sync", f"topic {name} cannot be written while one of its replicas is away"
    for deployment in services(docs):
        wanted = config_of(docs, deployment).get("FOREBAY__KAFKA__PARTITIONS")
        if wanted and inner and {wanted} != {str(count) for count in inner.values()}:
            yield "partitions", f"{name_of(deployment)}: kafka.partitions is {wanted}, the topics have {sorted(set(inner.values()))}"
            break


def check_users(users):
    for stage in READS:
        spec = users.get(f"forebay-{stage}")
        if spec is None:
            yield "user-missing", f"there is no KafkaUser forebay-{stage}"
            continue
        granted = {}
        for rule in spec["authorization"]["acls"]:
            granted.setdefault((rule["resource"]["type"], rule["resource"]["name"]), set()).update(rule["operations"])
        names = {setting: name for name, (setting, _) in TOPICS.items()}
        wanted = {("topic", names[setting]): {"Describe"} for setting in READS[stage] | WRITES[stage]}
        for setting in READS[stage]:
            wanted["topic", names[setting]].add("Read")
        for setting in WRITES[stage]:
            wanted["topic", names[setting]].add("Write")
        if stage in DESCRIBES_SETTINGS:
            wanted["topic", names[DESCRIBES_SETTINGS[stage]]].add("DescribeConfigs")
        if stage in TRANSACTIONS:
            wanted["transactionalId", TRANSACTIONS[stage]] = {"Describe", "Write"}
        wanted["group", GROUPS.get(stage, f"forebay-{stage}")] = {"Read"}
        wanted["group", f"{stage}-reader"] = {"Read"}
        for resource in sorted(set(granted) | set(wanted)):
            if granted.get(resource, set()) != wanted.get(resource, set()):
                yield "rights", f"KafkaUser forebay-{stage}: {' '.join(resource)} has {sorted(granted.get(resource, set()))}, expected {sorted(wanted.get(resource, set()))}"

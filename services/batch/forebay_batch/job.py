"""The query: a Kafka topic in, micro-batches through `forebay score`, a Kafka topic out."""

import logging
import signal
import time

from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from . import pins, scoring
from .settings import APP

log = logging.getLogger("forebay_batch")

OUT = "topic string, key binary, value binary, headers array<struct<key: string, value: binary>>"
SELECTORS = "model string, requested_version string"


def run(settings):
    """Runs until SIGTERM or SIGINT, or with `once` until everything is done. Raises what ended the query."""
    spark = SparkSession.builder.appName(APP).getOrCreate()
    stopping = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.append(True))
    step = Step(spark, settings)
    while not _ended(start(spark, settings, step), step, stopping):
        pass


def _ended(query, step, stopping):
    """False when the query failed after it had got on: then it is worth another start. Spark 4.1 needs one after each kill,
    as its Kafka source fails once when it reports on a micro-batch that was run again."""
    before = step.done
    try:
        while not query.awaitTermination(1):
            if stopping:
                log.info("stopping")
                query.stop()  # what was not finished is done again by the next run
                return True
        return True
    except StreamingQueryException as error:
        if step.done == before or stopping:
            raise
        log.warning("the query failed after %d micro-batches and is started again: %s", step.done - before, str(error).split("\n")[0])
        return False


def start(spark, settings, step):
    options = dict(settings.kafka)
    source = spark.readStream.format("kafka").options(**options)
    source = source.option("subscribe", settings.requests).option("kafka.group.id", settings.group)
    source = source.option("maxOffsetsPerTrigger", settings.max_offsets).option("startingOffsets", settings.starting)
    source = source.option("failOnDataLoss", str(settings.fail_on_data_loss).lower())
    writer = source.load().writeStream.queryName(APP).option("checkpointLocation", settings.checkpoint)
    if settings.once:
        writer = writer.trigger(availableNow=True)
    return writer.foreachBatch(step).start()


class Step:
    """One micro-batch: promise versions, score, write. Run again, it does the same."""

    def __init__(self, spark, settings):
        self.settings = settings
        self.pins = pins.PinStore(spark, settings.checkpoint)
        self.chooser = pins.Chooser(settings)
        self.done = 0  # micro-batches written by this process

    def __call__(self, batch, number):
        began = time.monotonic()
        # read once: the selectors are found in the same records that are scored
        taken = batch.select("topic", "partition", "offset", f.unix_millis("timestamp").alias("timestamp_ms"), "key", "value").persist()
        try:
            choices = self._choices(taken, number)
            outputs = taken.mapInArrow(scorer(self._plan(choices)), OUT)
            outputs.write.format("kafka").option("includeHeaders", "true").options(**dict(self.settings.kafka)).save()
        finally:
            taken.unpersist()
        self.done += 1
        log.info("micro-batch=%d written in %.2f s, versions=%s", number, time.monotonic() - began, _summary(choices))

    def _choices(self, taken, number):
        choices = self.pins.get(number)
        if choices is None:
            rows = taken.select("value").mapInArrow(selectors, SELECTORS).distinct().collect()
            choices = self.chooser.choices({(row.model, row.requested_version) for row in rows})
            self.pins.put(number, choices)
        return choices

    def _plan(self, choices):
        settings = self.settings
        fields = {selector: choice.as_dict() for selector, choice in choices.items()}
        places = {"results": settings.results, "dead_letters": settings.dead_letters, "group": settings.group}
        return scoring.Plan(settings.forebay, settings.registry, settings.timeout, settings.child_environment, fields, **places)


def _summary(choices):
    return ",".join(sorted({f"{it.model}/{it.version}" if it.version else it.code for it in choices.values()})) or "none"


def selectors(batches):
    import pyarrow

    for batch in batches:
        found = sorted(scoring.selectors(batch.column("value").to_pylist()))
        columns = [pyarrow.array([selector[at] for selector in found], pyarrow.string()) for at in (0, 1)]
        yield pyarrow.RecordBatch.from_arrays(columns, ["model", "requested_version"])


def scorer(plan):
    """A function for mapInArrow: record batches of records to record batches of what is written for them."""

    def run(batches):
        import pyarrow

        header = pyarrow.struct([("key", pyarrow.string()), ("value", pyarrow.binary())])
        kinds = [("topic", pyarrow.string()), ("key", pyarrow.binary()), ("value", pyarrow.binary()), ("headers", pyarrow.list_(header))]
        for batch in batches:
            taken = [scoring.Record(**row) for row in batch.to_pylist()]
            out = list(scoring.score(taken, plan))
            rows = {
                "topic": [it.topic for it in out],
                "key": [it.key for it in out],
                "value": [it.value for it in out],
                "headers": [[{"key": key, "value": value} for key, value in it.headers] for it in out],
            }
            arrays = [pyarrow.array(rows[name], kind) for name, kind in kinds]
            yield pyarrow.RecordBatch.from_arrays(arrays, [name for name, _ in kinds])

    return run

"""The job and the example clients against a real Kafka; run by test.sh, which gives everything by environment variables.

REAL_KAFKA, REAL_FOREBAY (the binary), REAL_SUBMIT (spark-submit with its options), REAL_REGISTRY (a copy of the sample, which
is changed), REAL_WORK (a folder), REAL_EXAMPLES
"""

import json
import os
import random
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
import unittest
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

BROKER, FOREBAY, REGISTRY = os.environ["REAL_KAFKA"], os.environ["REAL_FOREBAY"], Path(os.environ["REAL_REGISTRY"])
WORK, EXAMPLES, HERE = Path(os.environ["REAL_WORK"]), Path(os.environ["REAL_EXAMPLES"]), Path(__file__).resolve().parent.parent
MODEL, REQUESTS, RESULTS, MESH = "diabetes-rf-model", "inference-requests", "inference-results-batch", "inference-results"
COUNT, BATCH, PARTITIONS = 2400, 300, 3
ROWS = json.loads((REGISTRY / MODEL / "expected.json").read_text())["rows"]
# what a request may look like beside a plain one; all of it must come out of the job as it comes out of the mesh
ODD = [
    b"", b"x", b"[]", b'{"request_id":"cut","features":[1', b'{"request_id":"none"}', b'{"request_id":"short","features":[1]}',
    b'{"request_id":"nan","features":[NaN,1,1,1,1,1,1,1,1,1]}', b'{"request_id":"over","features":[1e999,1,1,1,1,1,1,1,1,1]}',
    b'{"request_id":"text","features":["x",1,1,1,1,1,1,1,1,1]}', b'{"request_id":"who","model":"absent","features":[1]}',
    b'{"request_id":"null","features":[null,1,1,1,1,1,1,1,1,1]}', b'{"request_id":"type","model_version":true,"features":[1,1,1,1,1,1,1,1,1,1]}',
    b'{"request_id":"twice","features":[1,1,1,1,1,1,1,1,1,1],"features":[1]}', b'{"request_id":"half\\ud800","features":[1]}',
    b'{"request_id":"many","features":[[1,1,1,1,1,1,1,1,1,1],[1,1,1,1,1,1,1,1,1,1]]}', b'{"request_id":"\xff","features":[1]}',
    b'{"request_id":"output","output":"predict","features":[1,1,1,1,1,1,1,1,1,1]}', b'{"request_id":"lacks","output":"decision_function","features":[1,1,1,1,1,1,1,1,1,1]}',
    b'{"request_id":"odd output","output":"probs","features":[1,1,1,1,1,1,1,1,1,1]}', b'{"request_id":"typed output","output":1,"features":[1,1,1,1,1,1,1,1,1,1]}',
    b'{"request_id":"params","params":{"k":1},"features":[1,1,1,1,1,1,1,1,1,1]}', b'{"request_id":"no params","params":{},"features":[1,1,1,1,1,1,1,1,1,1]}',
    b'{"request_id":"named","features":{"age":0.1,"sex":0.1,"bmi":0.1,"bp":0.1,"s1":0,"s2":0,"s3":0,"s4":0,"s5":0,"s6":1e-3}}',
]  # fmt: skip
# a classifier, whose version 2 has the tag forebay.output = predict_proba
CHURN = json.loads((HERE.parent.parent / "shared/model/tests/golden/wide/onehot_logreg.expected.json").read_text())
OUTPUTS = [None, "predict", "predict_proba", "decision_function", "score_samples", "probs"]
VERSIONS = [None, "v1", "v2", "v3", 1, "V2", "latest", "champion", "archived", "v9", "who", ""]


def until(seconds, what, condition):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return found


def bits(result):
    value = result["prediction"]
    return struct.pack("<d", value) if isinstance(value, (int, float)) else value


def scored(version, rows):
    """What `forebay score` prints for rows, alone."""
    text = "".join(json.dumps({"features": row}) + "\n" for row in rows)
    command = [FOREBAY, "score", "--registry", f"file:{REGISTRY}", "--model", f"models:/{MODEL}/{version}", "--format", "jsonl", "--batch", "1"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=60, check=True)
    return [bits(json.loads(line)) for line in done.stdout.splitlines()]


class Topic:
    """All of a topic."""

    def __init__(self, name):
        self.name = name
        self.consumer = Consumer({"bootstrap.servers": BROKER, "group.id": f"judge-{name}", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
        partitions = self.consumer.list_topics(name, timeout=20).topics[name].partitions
        self.consumer.assign([TopicPartition(name, partition, 0) for partition in partitions])
        self.partitions, self.messages = partitions, []

    def end(self):
        return sum(self.consumer.get_watermark_offsets(TopicPartition(self.name, it), timeout=10)[1] for it in self.partitions)

    def read(self):
        end = self.end()
        until(60, f"{end} records of {self.name}", lambda: self._more() >= end)
        return self.messages

    def _more(self):
        for message in self.consumer.consume(2000, 0.2):
            assert message.error() is None, message.error()
            self.messages.append(message)
        return len(self.messages)

    def results(self):
        """(partition, offset) of the request to the values written for it."""
        found = {}
        for message in self.read():
            origin = re.fullmatch(rb"kafka:(\d+):(\d+)", dict(message.headers())["forebay-origin"])
            found.setdefault((int(origin[1]), int(origin[2])), []).append(message.value())
        return found


class Process:
    """A process in a group of its own, so that a kill takes its JVM, its Python workers and their children at once."""

    def __init__(self, name, command, environ=None):
        self.log = open(WORK / f"{name}.log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **(environ or {})})

    def end(self, signal_number):
        try:
            os.killpg(self.process.pid, signal_number)
        except ProcessLookupError:
            pass
        return self.process.wait(60)


def job(*more):
    command = [*shlex.split(os.environ["REAL_SUBMIT"]), str(HERE / "submit/main.py"), "--brokers", BROKER, "--forebay", FOREBAY]
    command += ["--checkpoint", str(WORK / "checkpoint"), "--max-offsets", str(BATCH), "--registry", f"file:{REGISTRY}", *more]
    return Process("spark", command, {"PYTHONPATH": str(HERE), "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable})


class Real(unittest.TestCase):
    def setUp(self):
        self.running = []
        self.addCleanup(lambda: [it.end(signal.SIGKILL) for it in self.running if it.process.poll() is None])

    def start(self, process):
        self.running.append(process)
        return process

    def test_the_job_answers_like_the_mesh_and_survives_kills(self):
        mesh = self.mesh()
        self.examples()
        churn = [{"model": "churn", "model_version": version, "output": output, "features": CHURN["rows"][0]} for version in ("v1", "v2") for output in OUTPUTS]
        churn = [json.dumps({"request_id": f"churn {it['model_version']} {it['output']}", **it}).encode() for it in churn]
        odd = self.produce(ODD + churn + [json.dumps({"request_id": f"version {it!r}", "features": ROWS[0], "model_version": it}).encode() for it in VERSIONS])
        silent = 5  # odd ones that are dead letters alone: no client to answer
        until(60, "the mesh's answers", lambda: Topic(MESH).end() >= self.clients + len(odd) - silent)
        mesh_results = Topic(MESH).results()
        self.assertEqual(mesh.end(signal.SIGTERM), 0)

        rng = random.Random(7)
        rows = [[value + rng.random() * 1e-3 for value in rng.choice(ROWS)] for _ in range(COUNT)]
        requested = [rng.choice([None, "v1", "v2", "v3"]) for _ in rows]
        body = lambda i: {"request_id": f"load_test_{i % 50}", "features": rows[i]} | ({"model_version": requested[i]} if requested[i] else {})
        places = self.produce([json.dumps(body(i)).encode() for i in range(COUNT)])

        results = Topic(RESULTS)
        for kill in (1, 2):
            self.kill_in_mid_batch(results, kill)
            if kill == 1:  # Production moves while the job is dead; the batch that is run again must not notice
                stages = REGISTRY / MODEL / "registered_model.yaml"
                stages.write_text("stages:\n  1: Archived\n  2: Production\n  3: Staging\n")
        last = self.start(job("--once"))
        self.assertEqual(last.process.wait(150), 0, "the last run")

        got, of = results.results(), {version: scored(version, rows) for version in (1, 2, 3)}
        repeats = sum(len(values) - 1 for values in got.values())
        self.assertFalse([place for place, values in got.items() if len(set(values)) > 1], "a repeat differs")
        self.assertEqual([place for place in places if place not in got], [], "lost")
        answered = {version: 0 for version in (1, 2, 3)}
        for i, place in enumerate(places):
            result = json.loads(got[place][0])
            version = int(result["model_version"][1:])
            answered[version] += requested[i] is None
            self.assertEqual((result["request_id"], bits(result)), (f"load_test_{i % 50}", of[version][i]), place)
            self.assertIn(result["model_version"], [requested[i]] if requested[i] else ["v2", "v3"])
        self.assertTrue(answered[2] and answered[3], f"Production never moved: {answered}")
        self.assertGreater(repeats, 0, "no batch was run again: the kills proved nothing")

        self.same_as_mesh(odd, got, mesh_results)
        by_tag = [json.loads(got[place][0]) for place, sent in odd.items() if b'"churn v2 None"' in sent]
        self.assertEqual([len(it["prediction"]) for it in by_tag], [2])
        for value, want in zip(by_tag[0]["prediction"], CHURN["predict_proba"][0], strict=True):
            self.assertAlmostEqual(value, want, delta=1e-9)
        self.assertEqual(by_tag[0]["classes"], ["churn", "stay"])
        dead = {(int(dict(it.headers())["__connect.errors.partition"]), int(dict(it.headers())["__connect.errors.offset"])): it.value() or b"" for it in Topic("forebay.dead-letters").read() if dict(it.headers())["forebay-stage"] == b"batch"}
        by_mesh = {(int(dict(it.headers())["__connect.errors.partition"]), int(dict(it.headers())["__connect.errors.offset"])): it.value() or b"" for it in Topic("forebay.dead-letters").read() if dict(it.headers())["forebay-stage"] != b"batch"}
        self.assertEqual(dead, by_mesh, "dead letters")
        print(f"{COUNT} requests, {repeats} repeats after two kills, by Production before and after its move: {answered[3]}, {answered[2]}; {len(odd)} odd ones as in the mesh", file=sys.stderr)

    def same_as_mesh(self, odd, got, mesh_results):
        for place, sent in odd.items():
            self.assertEqual(place in got, place in mesh_results, sent)
            if place in mesh_results:
                mine, theirs = json.loads(got[place][0]), json.loads(mesh_results[place][0])
                short = lambda it: (it["request_id"], bits(it), it["model_version"], it.get("fallback_from"), it.get("probabilities"), it.get("classes"), it.get("error", {}).get("code"))
                self.assertEqual(short(mine), short(theirs), sent)

    def produce(self, values):
        """The place of each record, in order; a dictionary from place to value. In turn over the partitions: the job takes a share of
        each, so the first records are in its first batches."""
        places = {}
        producer = Producer({"bootstrap.servers": BROKER, "enable.idempotence": True})

        def delivered(error, message):
            assert error is None, error
            places[(message.partition(), message.offset())] = message.value()

        order = []
        for value in values:
            producer.produce(REQUESTS, value, partition=len(order) % PARTITIONS, on_delivery=lambda error, message, at=len(order): (delivered(error, message), order.__setitem__(at, (message.partition(), message.offset()))))
            order.append(None)
            producer.poll(0)
        self.assertEqual(producer.flush(30), 0)
        return {place: places[place] for place in order}

    def kill_in_mid_batch(self, results, kill):
        running = self.start(job())
        checkpoint = WORK / "checkpoint"
        newest = lambda kind: max((int(it.name) for it in (checkpoint / kind).glob("*") if it.name.isdigit()), default=-1)
        before = {"batch": None, "end": 0}

        def in_mid_batch():
            self.assertIsNone(running.process.poll(), "the job ended by itself")
            batch = newest("offsets")
            if batch < 0 or newest("commits") >= batch:
                return False
            if before["batch"] != batch:
                before.update(batch=batch, end=results.end())
            return batch >= 2 * kill and 0 < results.end() - before["end"]

        until(150, f"kill {kill} in the middle of a micro-batch", in_mid_batch)
        running.end(signal.SIGKILL)

    def mesh(self):
        admin = os.environ["REAL_ADMIN"]
        environ = {"FOREBAY__KAFKA__BROKERS": BROKER, "FOREBAY__ADMIN__LISTEN": admin, "FOREBAY__HTTP__LISTEN": os.environ["REAL_HTTP"], "FOREBAY__MODELS__REGISTRY": f"file:{REGISTRY}"}
        process = self.start(Process("mesh", [FOREBAY, "up", "--kafka"], environ))

        def ready():
            self.assertIsNone(process.process.poll(), "the mesh ended by itself")
            try:
                return urllib.request.urlopen(f"http://{admin}/health/ready", timeout=2).status == 200
            except OSError:
                return False

        until(60, "the mesh is ready", ready)
        return process

    def examples(self):
        """producer.py and consumer.py as their README has them."""
        self.clients = 20
        environ = {**os.environ, "KAFKA_BROKER": BROKER, "RESULTS_FROM": "earliest"}
        run = lambda *command: subprocess.run([sys.executable, *command], cwd=EXAMPLES, env=environ, capture_output=True, timeout=60, text=True)
        sent = run("producer.py", str(self.clients), "0.01")
        self.assertEqual((sent.returncode, sent.stdout), (0, f"sent {self.clients} of {self.clients} requests to {REQUESTS}\n"), sent.stderr)
        printed = run("consumer.py", str(self.clients), "20")
        self.assertEqual(printed.returncode, 0, printed.stderr)
        lines = printed.stdout.splitlines()
        self.assertEqual(len({it.split(":")[0] for it in lines}), self.clients)
        for text in lines:
            self.assertRegex(text, r"^req_\d{13}: \d+\.\d+ by v3$")


if __name__ == "__main__":
    unittest.main()

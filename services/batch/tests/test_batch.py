"""Everything but Spark, Kafka and the binary: `python -m unittest discover -s services/batch/tests`."""

import json
import sys
import tempfile
import time
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forebay_batch import child, choice, pins, records, scoring, settings  # noqa: E402

# Stands for `forebay score`: answers the sum of a row; the words die, hang, odd and long have their meaning.
FAKE = """
import json, sys, time
number = 0
for line in sys.stdin:
    number += 1
    if "die" in line: sys.stderr.write("out of luck"); sys.exit(3)
    if "hang" in line: time.sleep(600)
    if "odd" in line: print(json.dumps({"error": {"code": "internal", "message": "x", "line": number + 7}}), flush=True); continue
    if "torn" in line: sys.stdout.write('{"predic'); sys.stdout.flush(); sys.exit(0)
    row = json.loads(line)["features"]
    if row == []: print(json.dumps({"error": {"code": "invalid_features", "message": "empty", "line": number}}), flush=True); continue
    print(json.dumps({"prediction": sum(row), "pad": "x" * (10000 if "long" in line else 0)}), flush=True)
"""


def line(row, word=""):
    return json.dumps({"features": row, "request_id": word}).encode()


class Records(unittest.TestCase):
    def test_what_is_routed(self):
        read = lambda **fields: records.read(json.dumps({"features": [1], **fields}).encode())
        requested = [read(model_version=version).requested_version for version in (None, "v1", " v2 ", 3, "", True, 1.5, -1, [1])]
        self.assertEqual(requested, ["", "v1", "v2", "v3", "", "", "", "", ""])
        labels = [read(request_id=label).request_id for label in ("a", 7, None, True, "x" * 513, ["a"])]
        self.assertEqual(labels, ["a", "7", None, None, None, None])
        self.assertEqual((read(model="m").model, read(model=7).model), ("m", ""))

    def test_a_record_becomes_one_line_with_the_same_numbers(self):
        text = b'{"features":\r\n [0.1,\n 1e999, -0.0, 12345678901234567890123],"model_version":"v1"}'
        request = records.read(text)
        self.assertIsNone(request.problem)
        self.assertEqual(request.line, text.replace(b"\r", b" ").replace(b"\n", b" "))

    def test_what_cannot_be_read_is_dead_and_keeps_its_label(self):
        for value in (None, b"", b" ", b"x", b"[]", b"7", b"\xff{}", b'{"a":"\n"}', b"[" * 100_000, b'{"features":[1]} x'):
            request = records.read(value)
            self.assertTrue(request.problem.dead and request.request_id is None, value)
            self.assertEqual(request.problem.code, "invalid_request")
        self.assertEqual(records.read(b'{"request_id": "a\\"b", "features":[1').request_id, 'a"b')
        self.assertEqual(records.read(b'{"request_id": 12, "features":[1').request_id, "12")
        self.assertEqual(records.read(b'{"request_id": "a", "x":"\xff"}').request_id, "a")
        self.assertIsNone(records.read(b'{"request_id": "\xff", "features":[1]}').request_id)
        self.assertFalse(records.read(b'{"request_id":"a"}').problem.dead)

    def test_documents(self):
        text = records.answer("r", {"prediction": 0.1}, "v1")
        self.assertEqual(text, b'{"request_id":"r","prediction":0.1,"model_version":"v1"}')
        document = json.loads(records.answer(None, {"prediction": "a", "probabilities": [1, 0]}, "v3", "v9"))
        self.assertEqual(list(document), ["request_id", "prediction", "model_version", "fallback_from", "probabilities"])
        proba = {"prediction": [0.9, 0.1], "probabilities": [0.9, 0.1], "classes": ["a", 1]}
        document = json.loads(records.answer("r", proba, "v1"))
        self.assertEqual({name: document[name] for name in proba}, proba)
        failed = json.loads(records.answer("r", {"error": {"code": "c", "message": "m", "line": 3}}, "v1"))
        self.assertEqual(failed, {"request_id": "r", "prediction": None, "model_version": None, "error": {"code": "c", "message": "m"}})


class Choices(unittest.TestCase):
    VERSIONS = [
        {"version": 1, "stage": "Archived", "aliases": []},
        {"version": 3, "stage": "Production", "aliases": ["champion"]},
        {"version": 2, "stage": None, "aliases": ["Candidate"]},
    ]

    def choose(self, requested, stage="Production", broken=(), versions=None, model=""):
        registry = choice.Registry([{"name": "m", "versions": versions or self.VERSIONS}], "m", stage)
        found = registry.choose(model, requested, lambda _, version: version not in broken)
        return found.code or (found.version, found.label, found.fallback_from)

    def test_wishes(self):
        table = {
            "": (3, "v3", ""), "v1": (1, "v1", ""), "V1": (1, "V1", ""), "2": (2, "2", ""), "latest": (3, "v3", ""), "Candidate": (2, "v2", ""),
            "champion": (3, "v3", ""), "production": (3, "v3", ""), "archived": (1, "v1", ""),
            "v9": (3, "v3", "v9"), "candidate": (3, "v3", "candidate"), "v": (3, "v3", "v"),
        }  # fmt: skip
        self.assertEqual({requested: self.choose(requested) for requested in table}, table)

    def test_who_stands_in(self):
        self.assertEqual(self.choose("v2", broken=[2]), (3, "v3", "v2"))
        self.assertEqual(self.choose("", broken=[3]), (2, "v2", "v3"))
        self.assertEqual(self.choose("v1", broken=[1, 3]), (2, "v2", "v1"))
        self.assertEqual(self.choose("v1", broken=[1, 2, 3]), "model_unavailable")
        self.assertEqual(self.choose("", model="other"), "unknown_model")

    def test_the_output_tag_of_the_version_that_answers_is_kept(self):
        versions = [{**it, "output": {1: "predict_proba", 3: "probs"}.get(it["version"])} for it in self.VERSIONS]
        registry = choice.Registry([{"name": "m", "versions": versions}], "m", "Production")
        tag = lambda requested, broken=(): registry.choose("", requested, lambda _, version: version not in broken).output
        self.assertEqual([tag("v1"), tag("v2"), tag(""), tag("", [3])], ["predict_proba", "", "probs", ""])
        self.assertEqual(tag("v2", [2, 3]), "predict_proba", "that of the version that stands in")
        old = choice.Registry([{"name": "m", "versions": self.VERSIONS}], "m", "Production")
        self.assertEqual(old.choose("", "v1", lambda *_: True).output, "")

    def test_where_production_is(self):
        version = lambda number, stage=None, aliases=(): {"version": number, "stage": stage, "aliases": list(aliases)}
        self.assertEqual(self.choose("", stage="Archived"), (1, "v1", ""))
        self.assertEqual(self.choose("", stage="Candidate"), (2, "v2", ""))
        self.assertEqual(self.choose("", versions=[version(1, aliases=["Champion"]), version(2)]), (1, "v1", ""))
        self.assertEqual(self.choose("", versions=[version(1), version(2)]), (2, "v2", ""))


class Running(unittest.TestCase):
    def setUp(self):
        self.command = [sys.executable, "-c", FAKE]
        self.children = child.Children(most=2)
        self.addCleanup(self.children.close)

    def score(self, lines, timeout=20, command=None):
        return self.children.score(command or self.command, lines, timeout)

    def test_answers_stay_with_their_lines_over_many_chunks(self):
        lines = [line([]) if i % 7 == 3 else line([i], "long" if i % 5 == 0 else "") for i in range(700)]
        answers = self.score(lines)
        self.assertEqual([it.get("prediction") for it in answers], [None if i % 7 == 3 else i for i in range(700)])
        first = next(iter(self.children.running.values()))
        self.assertEqual(self.score([line([5])])[0]["prediction"], 5)
        self.assertIs(next(iter(self.children.running.values())), first, "the process is used again")

    def test_a_child_that_fails_is_reported_and_replaced(self):
        for word, why in (("die", "out of luck"), ("odd", "instead of"), ("torn", "ended with 0")):
            with self.assertRaisesRegex(child.ChildFailed, why):
                self.score([line([1]), line([2], word), line([3])])
            self.assertFalse(self.children.running)
            self.assertEqual(self.score([line([4])])[0]["prediction"], 4)

    def test_a_child_that_hangs_is_ended(self):
        began = time.monotonic()
        with self.assertRaisesRegex(child.ChildFailed, "no answer within"):
            self.score([line([1], "hang")], timeout=1)
        self.assertLess(time.monotonic() - began, 15)

    def test_what_is_no_program(self):
        with self.assertRaisesRegex(child.ChildFailed, "cannot be started"):
            self.score([line([1])], command=["/nonexistent/forebay"])

    def test_the_longest_unused_goes(self):
        for number in range(3):
            self.score([line([1])], command=[*self.command, str(number)])
        self.assertEqual([key[0][-1] for key in self.children.running], ["1", "2"])


class Scoring(unittest.TestCase):
    def score(self, values, dead_letters="dead"):
        made = {("", ""): (1, "v1", ""), ("", "v9"): (1, "v1", "v9"), ("", "v2"): (2, "v2", "")}
        choices = {selector: choice.Choice("m", *rest).as_dict() for selector, rest in made.items()}
        choices[("no", "")] = choice.Choice(code="unknown_model", message="who").as_dict()
        self.assertLessEqual(scoring.selectors(values), set(choices))
        plan = scoring.Plan("f", "", 5, (), choices, "results", dead_letters, "g")

        class Fake:
            def score(self, command, lines, timeout, environment):
                factor = int(command[3].rsplit("/", 1)[1])
                one = lambda text: {"error": {"code": "invalid_request", "message": "not JSON: x", "line": 1}} if b"torn" in text else {"prediction": factor * json.loads(text)["features"][0]}
                return [one(text) for text in lines]

        taken = [scoring.Record("in", 2, 100 + i, 5, b"k", value) for i, value in enumerate(values)]
        return list(scoring.score(taken, plan, Fake()))

    def test_every_record_has_its_answer(self):
        values = [json.dumps({"request_id": str(i), "features": [i]} | ({"model_version": ["v2", 2, "v9"][i % 3]} if i % 4 else {})).encode() for i in range(50)]
        out = self.score(values)
        self.assertEqual([it.headers for it in out], [[("forebay-origin", f"kafka:2:{100 + i}".encode())] for i in range(50)])
        for i, text in enumerate(json.loads(it.value) for it in out):
            by = 2 if i % 4 and i % 3 < 2 else 1
            self.assertEqual((text["request_id"], text["prediction"], text["model_version"]), (str(i), by * i, f"v{by}"))
            self.assertEqual("fallback_from" in text, bool(i % 4) and i % 3 == 2)

    def test_rows_of_one_version_with_two_tags_are_not_mixed(self):
        """As in a micro-batch that was promised before the tag moved, run again after."""
        commands = []

        class Fake:
            def score(self, command, lines, timeout, environment):
                commands.append((command, len(lines)))
                return [{"prediction": 1}] * len(lines)

        selectors = {"v1": "", "v2": "predict_proba", "V2": "predict_proba"}
        choices = {("", version): choice.Choice("m", 2, version, output=tag).as_dict() for version, tag in selectors.items()}
        plan = scoring.Plan("f", "reg", 5, (), choices, "results", "dead", "g")
        taken = [scoring.Record("in", 0, i, 5, b"k", json.dumps({"features": [i], "model_version": version}).encode()) for i, version in enumerate(selectors)]
        self.assertEqual(len(list(scoring.score(taken, plan, Fake()))), 3)
        self.assertEqual([next(it for it in command if it.startswith("--output-tag")) for command, _ in commands], ["--output-tag=", "--output-tag=predict_proba", "--output-tag=predict_proba"])
        self.assertEqual(pins.load('[{"model": "", "asked": "", "choice": {"model": "m", "version": 3, "label": "v3"}}]')[("", "")].output, "", "pins of an older job")

    def test_what_has_no_answer(self):
        values = [b"x", b'{"request_id":"a","features":[', b'{"request_id":"b"}', b'{"model":"no","features":[1]}', b'{"features":["torn"]}', b'{"features":[1]}']
        place = lambda it: (it.topic, json.loads(it.value)["request_id"]) if it.topic == "results" else (it.topic, it.value)
        expected = [("dead", values[0]), ("dead", values[1]), ("results", "a"), ("results", "b"), ("results", None), ("dead", values[4]), ("results", None)]
        self.assertEqual([place(it) for it in self.score(values)], expected)
        self.assertEqual(dict(self.score(values)[0].headers)["kafka_dlt-original-offset"], (100).to_bytes(8, "big"))
        self.assertEqual({it.topic for it in self.score(values, dead_letters="")}, {"results"})
        self.assertEqual(len(self.score(values, dead_letters="")), len(values), "without dead letters every record has a result")


class Pins(unittest.TestCase):
    def test_they_read_back(self):
        made = {("", ""): choice.Choice("m", 3, "v3"), ("é", 'v"9'): choice.Choice(code="unknown_model", message="who")}
        self.assertEqual(pins.load(pins.dump(made)), made)

    def test_a_version_is_tried_before_it_is_promised_and_again_later(self):
        calls, broken = [], {2}
        listed = [{"name": "m", "versions": [{"version": 1, "stage": "Production", "aliases": []}, {"version": 2, "stage": None, "aliases": []}]}]

        def run(command, **_):
            calls.append(command[1])
            failed = command[1] == "score" and int(command[3][-1]) in broken
            return SimpleNamespace(returncode=int(failed), stdout=json.dumps(listed).encode(), stderr=b"why")

        chooser = pins.Chooser(SimpleNamespace(forebay="/f", registry="", model="m", stage="Production", timeout=1, child_environment=()), run)
        requested = {("", "v2"), ("", "2"), ("", "")}
        self.assertEqual({it.version for it in chooser.choices(requested).values()}, {1})
        self.assertEqual(calls.count("score"), 2, "one try a batch for each version")
        broken.clear()
        self.assertEqual(chooser.choices(requested)[("", "v2")].version, 2)
        self.assertEqual(calls.count("score"), 3)
        chooser.run = lambda *_, **__: SimpleNamespace(returncode=1, stdout=b"", stderr=b"no registry")
        with self.assertRaisesRegex(pins.PinsFailed, "no registry"):
            chooser.choices(requested)


class Settings(unittest.TestCase):
    HUB = "Endpoint=sb://space.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey=c2VjcmV0"

    def test_defaults_are_the_contract(self):
        found = settings.of([], {})
        self.assertEqual((settings.APP, found.requests, found.group), ("BatchInferencePipeline", "inference-requests", "batch-inference"))
        self.assertEqual((found.max_offsets, found.checkpoint), (1000, "/mnt/checkpoints/batch-inference"))
        self.assertEqual((found.results, dict(found.kafka)["kafka.bootstrap.servers"]), ("inference-results-batch", "localhost:9092"))

    def test_event_hubs(self):
        found = settings.of([], {"EVENTHUB_CONNECTION": self.HUB, "EVENTHUB_NAME": "hub", "DATABRICKS_RUNTIME_VERSION": "16"})
        kafka = dict(found.kafka)
        self.assertEqual((kafka["kafka.bootstrap.servers"], found.requests, found.results), ("space.servicebus.windows.net:9093", "hub", "hub-results-batch"))
        self.assertTrue(kafka["kafka.sasl.jaas.config"].startswith("kafkashaded.") and self.HUB in kafka["kafka.sasl.jaas.config"])
        self.assertNotIn("c2VjcmV0", repr(found))
        off = settings.of([], {"EVENTHUB_CONNECTION": self.HUB, "USE_EVENTHUB": "false"})
        self.assertEqual(off.requests, "inference-requests")

    def test_all_problems_at_once_and_no_secret_in_them(self):
        with self.assertRaises(settings.SettingsError) as caught:
            settings.of(["--results", "inference-requests", "--max-offsets", "0", "--kafka-option", "x"], {"EVENTHUB_CONNECTION": "SharedAccessKey=c2VjcmV0"})
        text = str(caught.exception)
        self.assertEqual(len(text.splitlines()), 4)
        self.assertNotIn("c2VjcmV0", text)

    def test_children_get_what_is_theirs(self):
        environ = {"FOREBAY__MODELS__TOKEN": "t", "MLFLOW_TRACKING_URI": "http://u:pass@m", "FOREBAY__KAFKA__BROKERS": "b", "HOME": "h"}
        found = settings.of([], environ)
        self.assertEqual(dict(found.child_environment), {"FOREBAY__MODELS__TOKEN": "t", "MLFLOW_TRACKING_URI": "http://u:pass@m"})
        catalog = {"MLFLOW_REGISTRY_URI": "databricks-uc", "DATABRICKS_HOST": "adb-1", "DATABRICKS_TOKEN": "pass"}
        found = settings.of([], {**catalog, "DATABRICKS_RUNTIME_VERSION": "17"})
        self.assertEqual(dict(found.child_environment), catalog)
        self.assertEqual(found.registry, "databricks-uc")
        self.assertNotIn("pass", repr(found))


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The parts of check.sh that are more than a command.

static            what can be seen without a service: alerts, tests, runbook, dashboard, names, links
config PORT       prometheus.yml for five services on this machine whose admin ports start at PORT
callers PORT S    callers over HTTP for S seconds: versions, priorities, mistakes, a trace, a repeated key
query URL         evaluates every expression at a Prometheus that has scraped a mesh
"""

import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STAGES = ["ingestion", "preprocessing", "caching", "prediction", "publishing"]
NAME = re.compile(r"\b(?:forebay_|inference_|process_|kafka_consumer_)\w+")
RECORD = re.compile(r"\bforebay:[\w:]+")


def rules(file):
    """(name, expression) of the rules of a file, in our own simple layout: the name, then `expr:` on one line or folded below."""
    lines = (HERE / "rules" / file).read_text().splitlines()
    found = []
    for index, line in enumerate(lines):
        named = re.match(r"\s+- (?:record|alert): (\S+)$", line)
        if named:
            expression = lines[index + 1].split("expr:", 1)[1].strip()
            if expression == ">-":
                rest = lines[index + 2 :]
                end = next((i for i, it in enumerate(rest) if not it.startswith(" " * 10)), len(rest))
                expression = " ".join(it.strip() for it in rest[:end])
            found.append((named[1], expression))
    return found


def dashboard():
    return json.loads((HERE / "grafana" / "dashboards" / "forebay.json").read_text())


def expressions():
    """Every expression by a name that says where it stands, with Grafana's variables filled in."""
    found = {f"rule:{name}": expression for name, expression in rules("recording.yml")}
    for name, expression in rules("alerts.yml"):
        # what the alert compares, not whether it fires
        found[f"alert:{name}"] = re.sub(r"\s*(==|>|<)\s*[\d.]+", "", expression)
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "30s").replace("$job", ".*")
            found[f"panel:{panel['title']}:{target['refId']}"] = expression
    return found


def empty_when_healthy():
    lines = (HERE / "expressions.txt").read_text().splitlines()
    return dict(line.split("\t", 1) for line in lines if line and not line.startswith("#"))


def documented():
    rows = (ROOT / "docs" / "metrics.md").read_text().splitlines()
    return {row.split("`")[1] for row in rows if row.startswith("| `")}


# --- static ----------------------------------------------------------------------------------------------------


def anchors(path):
    """Anchors of the headings of a Markdown file, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def untested(name, text):
    """What the unit tests of an alert lack: a case in which it stays quiet, and one in which it fires."""
    cases = re.findall(rf"- name: '{name}:.*?exp_samples: (\S+)", text, re.S)
    return [word for word, there in (("quiet", "[]" in cases), ("firing", any(it != "[]" for it in cases))) if not there]


def alert_findings():
    alerts = (HERE / "rules" / "alerts.yml").read_text()
    tests = "".join(path.read_text() for path in sorted((HERE / "tests").glob("*.yml")))
    runbook = re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
    names = [name for name, _ in rules("alerts.yml")]
    for name in names:
        for lack in untested(name, tests):
            yield f"alert {name} has no unit test in which it is {lack}"
        if f"runbook_url: docs/runbook.md#{name.lower()}" not in alerts:
            yield f"alert {name} does not name its entry of the runbook"
        if name not in runbook:
            yield f"alert {name} has no entry (### {name}) in docs/runbook.md"
    for name in set(runbook) - set(names):
        yield f"docs/runbook.md has an entry for {name}, which is no alert"
    for name in {it.split(":")[0] for it in re.findall(r"- name: '([^']+)", tests)} - set(names):
        yield f"the tests name {name}, which is no alert"


def name_findings():
    known, records = documented(), {name for name, _ in rules("recording.yml")}
    for place, expression in expressions().items():
        for name in NAME.findall(re.sub(r'"[^"]*"', '""', expression)):
            if name not in known and re.sub(r"_(bucket|sum|count)$", "", name) not in known:
                yield f"{place}: {name} is not in docs/metrics.md"
        for name in RECORD.findall(expression):
            if name not in records:
                yield f"{place}: {name} is recorded by no rule"
    for place in set(empty_when_healthy()) - set(expressions()):
        yield f"expressions.txt: there is no {place}"


def dashboard_findings():
    board, provisioned = dashboard(), (HERE / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    ids = [panel["id"] for panel in board["panels"]]
    if len(set(ids)) != len(ids):
        yield "dashboard: two panels have one id"
    for panel in board["panels"]:
        if panel["type"] != "row":
            if f"uid: {panel['datasource']['uid']}\n" not in provisioned:
                yield f"panel {panel['title']}: its data source is not provisioned"
            place = panel["gridPos"]
            if place["x"] + place["w"] > 24:
                yield f"panel {panel['title']} does not fit"


def link_findings():
    for page in [*sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            if "://" in link:
                continue
            target = page if not path else (page.parent / path).resolve()
            if not target.exists():
                yield f"{page.name}: {link} leads nowhere"
            elif anchor and anchor not in anchors(target):
                yield f"{page.name}: {link} has no such heading"


def parse_findings():
    """Everything must be PromQL, what is empty in a healthy mesh as well."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "all.json"
        listed = [{"record": f"check:{i}", "expr": expression} for i, expression in enumerate(expressions().values())]
        file.write_text(json.dumps({"groups": [{"name": "all", "rules": listed}]}))
        checked = subprocess.run(["promtool", "check", "rules", "--lint=none", str(file)], capture_output=True, text=True)
        if checked.returncode:
            yield f"not PromQL: {checked.stderr.strip()}"


def static():
    found = [it for part in (alert_findings, name_findings, dashboard_findings, link_findings, parse_findings) for it in part()]
    print("\n".join(found) or f"{len(expressions())} expressions, {len(rules('alerts.yml'))} alerts: nothing wrong")
    return 1 if found else 0


# --- a mesh under load -----------------------------------------------------------------------------------------


def config(port):
    text = (HERE / "prometheus.yml").read_text()
    text = re.sub(r"(scrape|evaluation)_interval: \w+", r"\1_interval: 1s", text).replace("scrape_timeout: 5s", "scrape_timeout: 1s")
    text = text.replace("- rules/*.yml", f"- {HERE}/rules/*.yml")
    targets = "".join(
        f'      - targets: ["127.0.0.1:{port + i}"]\n        labels: {{ service: {stage} }}\n' for i, stage in enumerate(STAGES)
    )
    before, _, _ = text.partition("    # by DNS")
    print(before + "    static_configs:\n" + targets)
    return 0


def callers(port, seconds):
    """One request after another; every one must be answered, and the good ones with 200."""
    row = [0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018]
    end, turn, wrong = time.time() + seconds, 0, 0
    while time.time() < end:
        turn += 1
        features = [turn * 1e-5, *row[1:]] if turn % 2 else row
        body = {"features": features, "priority": (0, 1, 5)[turn % 3]}
        if turn % 5 == 0:
            body["model_version"] = f"v{turn % 3 + 1}"
        headers = {"content-type": "application/json"}
        if turn % 3 == 0:
            headers["traceparent"] = f"00-{turn:032x}-{turn:016x}-01"
        if turn % 4 == 0:
            headers["Idempotency-Key"] = f"check-{turn // 8}"
            body = {"features": row}
        bad = turn % 25 == 0 and turn % 4 != 0
        if bad:
            body["features"] = [1, 2, 3]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/v1/predict", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != (400 if bad else 200):
            wrong += 1
            print(f"{answer.status}: {text}", file=sys.stderr)
        connection.close()
        time.sleep(0.05)
    print(f"{turn} calls over HTTP, {wrong} answered wrongly")
    return 1 if wrong else 0


def get(url, path, **query):
    with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(query)}", timeout=20) as answer:
        return json.load(answer)["data"]


def query(url):
    """Every expression has values and every target is scraped; on a busy machine one may come a scrape later."""
    end = time.time() + 20
    while missing := missing_from(url):
        if time.time() > end:
            print("\n".join(missing))
            return 1
        time.sleep(2)
    print(f"{len(expressions())} expressions answered ({len(empty_when_healthy())} may be empty in a healthy mesh), {len(exemplars(url))} traces as exemplars")
    return 0


def exemplars(url):
    now = time.time()
    examples = get(url, "/api/v1/query_exemplars", query="inference_latency_seconds_bucket", start=now - 600, end=now)
    return {it["labels"].get("trace_id") for series in examples for it in series["exemplars"]}


def missing_from(url):
    healthy, missing = empty_when_healthy(), []
    expected = expressions()
    for place, expression in expected.items():
        samples = get(url, "/api/v1/query", query=expression)["result"]
        values = [it for it in samples if it["value"][1] != "NaN"] if isinstance(samples, list) and samples and isinstance(samples[0], dict) else samples
        if not values and place not in healthy:
            missing.append(f"{place} gives {'NaN' if samples else 'nothing'}: {expression}")
    down = [it["labels"].get("service") for it in get(url, "/api/v1/targets")["activeTargets"] if it["health"] != "up"]
    missing += [f"{service} is not scraped" for service in down]
    unhealthy = [f"{it['name']}: {it['lastError']}" for group in get(url, "/api/v1/rules")["groups"] for it in group["rules"] if it["health"] == "err"]
    missing += [f"rule fails: {it}" for it in unhealthy]
    if not exemplars(url):
        missing.append("no bucket of inference_latency_seconds names a trace")
    return missing


def main(words):
    match words:
        case ["static"]:
            return static()
        case ["config", port]:
            return config(int(port))
        case ["callers", port, seconds]:
            return callers(int(port), float(seconds))
        case ["query", url]:
            return query(url)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

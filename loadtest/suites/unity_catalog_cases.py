#!/usr/bin/env python3
"""Reads models from Unity Catalog with MLflow's own client and with forebay, from one small server that answers as a
Databricks workspace does, and compares: versions, aliases, bytes of files, predictions, and what a wrong token gets.

usage: unity_catalog_cases.py FOREBAY      (a Python with mlflow and databricks-sdk: `compose/native.sh python`)

No real workspace is involved. Exits 1 if something differs.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "shared/model/sample/diabetes-rf-model"
NAME, TOKEN = "main.health.diabetes", "dapi-0123456789-hidden"
FOLDER = "/Models/" + NAME.replace(".", "/")
CATALOG = "/api/2.0/mlflow/unity-catalog/"
ALIASES = {"champion": 3, "candidate": 2}


def version(number, whole):
    entry = {"name": NAME, "version": str(number), "creation_timestamp": 1795424297778, "last_updated_timestamp": 1795424297778 + number, "status": "READY"}
    # a listing has no tags and no aliases
    return {**entry, "tags": [{"key": "team", "value": "risk"}], "aliases": [{"alias": a, "version": str(v)} for a, v in ALIASES.items() if v == number]} if whole else entry


class Workspace(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    calls = []

    def log_message(self, *args):
        pass

    def reply(self, status, body):
        bytes_ = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.send_header("content-length", str(len(bytes_)))
        self.send_header("last-modified", "Sun, 29 Nov 2026 10:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(bytes_)

    def missing(self, code, what):
        self.reply(404, {"error_code": code, "message": f"{what} does not exist."})

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        path = urllib.parse.unquote(url.path)
        self.calls.append(f"{self.command} {path}")
        if not path.startswith("/api/"):
            return self.missing("ENDPOINT_NOT_FOUND", path)
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self.reply(403, {"error_code": 403, "message": "Invalid access token. [ReqId: 8d9f]"})
        if path.startswith("/api/2.0/fs/"):
            return self.files(path.removeprefix("/api/2.0/fs/"))
        call, name, number = path.removeprefix(CATALOG), query.get("name"), query.get("version", "")
        if call == "model-versions/emit-lineage":
            return self.reply(200, {})
        if call == "registered-models/search":
            return self.reply(200, {"registered_models": [{"name": NAME}]})
        if call == "model-versions/search":
            if query["filter"] != f"name='{NAME}'" or "order_by" in query:
                return self.reply(400, {"error_code": "INVALID_PARAMETER_VALUE", "message": query})
            return self.reply(200, {"model_versions": [version(n, False) for n in (1, 2, 3)]})
        if name != NAME:
            return self.missing("RESOURCE_DOES_NOT_EXIST", f"Routine or Model '{name}'")
        if call == "registered-models/get":
            return self.reply(200, {"registered_model": {"name": NAME, "aliases": [{"alias": a, "version": str(v)} for a, v in ALIASES.items()]}})
        if call == "registered-models/alias" and query.get("alias") in ALIASES:
            return self.reply(200, {"model_version": version(ALIASES[query["alias"]], True)})
        if call == "model-versions/get" and number in ("1", "2", "3"):
            return self.reply(200, {"model_version": version(int(number), True)})
        return self.missing("RESOURCE_DOES_NOT_EXIST", call)

    def files(self, path):
        kind, _, path = path.partition("/")
        place = SAMPLE / ("/" + path).rstrip("/").removeprefix(FOLDER).strip("/")
        if kind == "files" and place.is_file():
            return self.reply(200, place.read_bytes())
        if kind == "directories" and place.is_dir():
            entry = lambda p: {"path": f"/{path.rstrip('/')}/{p.name}", "name": p.name, "is_directory": p.is_dir(), **({} if p.is_dir() else {"file_size": p.stat().st_size})}
            return self.reply(200, {"contents": [entry(p) for p in sorted(place.iterdir())]})
        return self.missing("NOT_FOUND", path)

    do_GET = do_HEAD = do_POST = answer


def same_bytes(folder, number):
    found = {str(p.relative_to(folder)): p.read_bytes() for p in pathlib.Path(folder).rglob("*") if p.is_file() and p.name != "registered_model_meta"}
    wanted = {str(p.relative_to(SAMPLE / str(number))): p.read_bytes() for p in (SAMPLE / str(number)).rglob("*") if p.is_file()}
    assert found == wanted, f"{sorted(found)}, expected {sorted(wanted)}"


def of_mlflow(work):
    import mlflow

    mlflow.set_registry_uri("databricks-uc")
    client = mlflow.MlflowClient()
    for alias, number in ALIASES.items():
        assert int(client.get_model_version_by_alias(NAME, alias).version) == number
    assert sorted(int(v.version) for v in client.search_model_versions(f"name='{NAME}'")) == [1, 2, 3]
    for number in (1, 3):
        same_bytes(mlflow.artifacts.download_artifacts(f"models:/{NAME}/{number}", dst_path=str(work / str(number))), number)
    print("MLflow's client: versions, aliases and files as registered")


def forebay(program, *arguments, token=TOKEN, rows=""):
    environment = {**os.environ, "DATABRICKS_TOKEN": token, "FOREBAY__MODELS__CACHE_DIR": "off", "MODEL_NAME": NAME}
    done = subprocess.run([program, *arguments], input=rows, env=environment, capture_output=True, text=True, timeout=120)
    assert token not in done.stdout + done.stderr, "the token is shown"
    return done


def of_forebay(program):
    listed = forebay(program, "models", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    model, = [m for m in json.loads(listed.stdout) if m["name"] == NAME]
    assert sorted(v["version"] for v in model["versions"]) == [1, 2, 3], model
    checked = forebay(program, "models", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    expected = json.loads((SAMPLE / "expected.json").read_text())
    rows = "".join(json.dumps(row) + "\n" for row in expected["rows"])
    for uri, number in [(f"models:/{NAME}/1", 1), (f"models:/{NAME}@champion", 3), (f"models:/{NAME}@candidate", 2)]:
        scored = forebay(program, "score", "--model", uri, rows=rows)
        assert scored.returncode == 0, scored.stderr
        got = [json.loads(line)["prediction"] for line in scored.stdout.splitlines()]
        want = expected["versions"][str(number)]["predict"]
        close = all(abs(g - w) <= 2e-6 * (1 + abs(w)) for g, w in zip(got, want, strict=True))
        assert got == want if number == 1 else close, f"{uri}: {got}, expected {want}"
    print("forebay: versions and aliases as MLflow's client has them, the predictions of Python")
    refused = forebay(program, "models", "list", token="dapi-another-hidden")
    assert refused.returncode != 0 and "DATABRICKS_TOKEN" in refused.stderr + refused.stdout, refused
    unknown = forebay(program, "score", "--model", "models:/main.health.none@champion", rows="")
    assert unknown.returncode == 1 and "main.health.none" in unknown.stderr, unknown
    shown = forebay(program, "config", "show")
    assert shown.returncode == 0 and "databricks-uc" in shown.stdout, shown
    print("forebay: a wrong token and an unknown model are named, the token is shown nowhere")


def main(program):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Workspace)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for variable in [v for v in os.environ if v.startswith(("MLFLOW_", "DATABRICKS_", "FOREBAY__", "MODEL_"))]:
        del os.environ[variable]
    os.environ.update({
        "DATABRICKS_HOST": f"http://127.0.0.1:{server.server_port}", "DATABRICKS_TOKEN": TOKEN, "MLFLOW_REGISTRY_URI": "databricks-uc",
        # as a workspace without credentials of a cloud answers for itself
        "MLFLOW_USE_DATABRICKS_SDK_MODEL_ARTIFACTS_REPO_FOR_UC": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    })
    with tempfile.TemporaryDirectory() as work:
        os.environ["HOME"] = os.environ["XDG_CACHE_HOME"] = work
        os.chdir(work)  # MLflow leaves a database behind
        of_mlflow(pathlib.Path(work))
        by_mlflow = set(Workspace.calls)
        Workspace.calls.clear()
        of_forebay(program)
    # whatever forebay asks for, MLflow's client asks for as well, but the listing of a model
    own = {call for call in Workspace.calls if "/none" not in call and not call.startswith("GET /api/2.0/fs/")} - by_mlflow
    assert own <= {f"GET {CATALOG}registered-models/get", f"GET {CATALOG}model-versions/get"}, own
    files = {call for call in Workspace.calls if call.startswith("GET /api/2.0/fs/files/") and "/2/" not in call}
    assert files and files <= by_mlflow, files - by_mlflow
    server.shutdown()


main(os.path.abspath(sys.argv[1]))

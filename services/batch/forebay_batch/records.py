"""A request record as far as it must be understood here, and the documents that go out.

What a valid request is, is decided by `forebay score`, which has the parser of the mesh. This module finds the few
fields by which a record is routed, and settles what never reaches a model.
"""

import json
import re
from dataclasses import dataclass

MAX_TEXT_BYTES = 512
_LABEL = re.compile(rb'"request_id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?)', re.S)


@dataclass(frozen=True)
class Problem:
    """Why a request has no prediction. `dead`: it could not even be read, so its bytes are kept as well."""

    code: str
    message: str
    dead: bool = False


@dataclass(frozen=True)
class Request:
    """`line` is the record as one line of JSON, `requested_version` the version as the mesh writes it ("" for none)."""

    request_id: str | None = None
    model: str = ""
    requested_version: str = ""
    line: bytes = b""
    problem: Problem | None = None


def read(value):
    """The request in the bytes of a record; never raises."""
    value = bytes(value or b"")
    if not value:
        return Request(problem=Problem("invalid_request", "the record is empty, expected a JSON object", dead=True))
    try:
        fields = json.loads(value.decode("utf-8"), parse_int=_integer)
        if not isinstance(fields, dict):
            raise ValueError("expected a JSON object")
    except (ValueError, RecursionError) as error:
        text = str(error) or "too deeply nested"
        return Request(_recovered_id(value), problem=Problem("invalid_request", f"not JSON: {text}", dead=True))
    request_id = _label(fields.get("request_id"))
    if "features" not in fields:
        return Request(request_id, problem=Problem("invalid_request", "features: missing"))
    # line ends can stand between the tokens only: strings with raw ones were refused above
    line = value.replace(b"\r", b" ").replace(b"\n", b" ")
    return Request(request_id, _text(fields.get("model")), _version(fields.get("model_version")), line)


def _integer(digits):
    return int(digits) if len(digits) <= 20 else float(digits)


def _label(value):
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _fits(value) else None


def _text(value):
    return value.strip() if isinstance(value, str) and _fits(value) else ""


def _version(value):
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return f"v{value}"
    return _text(value)


def _fits(text):
    try:
        return len(text.encode("utf-8")) <= MAX_TEXT_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair: the parser will refuse it
        return False


def _recovered_id(value):
    found = _LABEL.search(value)
    try:
        return _label(json.loads(found.group(1))) if found else None
    except ValueError:
        return None


def answer(request_id, answered, label, fallback_from=""):
    """The result document of a line that `forebay score` answered; `answered` is what it printed."""
    error = answered.get("error")
    if error:
        return failure(request_id, error["code"], error["message"])
    result = {"request_id": request_id, "prediction": answered["prediction"], "model_version": label}
    if fallback_from:
        result["fallback_from"] = fallback_from
    for name in ("probabilities", "classes"):
        if name in answered:
            result[name] = answered[name]
    return _document(result)


def failure(request_id, code, message):
    """The result document of a request without a prediction."""
    error = {"code": code, "message": message}
    return _document({"request_id": request_id, "prediction": None, "model_version": None, "error": error})


def _document(result):
    return json.dumps(result, separators=(",", ":")).encode("ascii")


def origin_headers(partition, offset):
    """What a result says about where its request came from, as in the mesh. It names the request for good: repeats are found by it."""
    return [("forebay-origin", f"kafka:{partition}:{offset}".encode())]


def dead_letter_headers(problem, topic, partition, offset, timestamp_ms, group):
    """The headers of the mesh's dead letters: Kafka Connect's, Spring Kafka's and its own."""
    message = problem.message.encode("utf-8", "replace")
    number = lambda value, size: value.to_bytes(size, "big", signed=True)
    return [
        ("forebay-stage", b"batch"),
        ("forebay-code", problem.code.encode()),
        ("__connect.errors.topic", topic.encode()),
        ("__connect.errors.partition", str(partition).encode()),
        ("__connect.errors.offset", str(offset).encode()),
        ("__connect.errors.stage", b"batch"),
        ("__connect.errors.exception.message", message),
        ("kafka_dlt-original-topic", topic.encode()),
        ("kafka_dlt-original-partition", number(partition, 4)),
        ("kafka_dlt-original-offset", number(offset, 8)),
        ("kafka_dlt-original-timestamp", number(timestamp_ms, 8)),
        ("kafka_dlt-original-consumer-group", group.encode()),
        ("kafka_dlt-exception-message", message),
    ]

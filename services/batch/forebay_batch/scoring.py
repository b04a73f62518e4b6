"""A piece of a partition through the children: what the executors do. No Spark in here."""

from dataclasses import dataclass

from . import records
from .child import Children, find
from .choice import Choice

# Lives as long as the Python worker, which Spark uses for many tasks: models stay loaded between micro-batches.
_children = Children()


@dataclass(frozen=True)
class Plan:
    """What the driver sends to the executors. `choices`: (model, requested version) to the fields of a Choice."""

    program: str
    registry: str
    timeout: float
    environment: tuple
    choices: dict
    results: str
    dead_letters: str
    group: str

    def command(self, choice):
        return score_command(find(self.program), self.registry, choice.model, choice.version, choice.output)


@dataclass(frozen=True)
class Record:
    """A record of Kafka."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True)
class Out:
    """A record to write."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list


def score_command(program, registry, model, version, output=""):
    """One thread, as Spark counts a task as a core. One row at a time: the last bits of a net depend on how many rows share a call,
    and how many do depends on timing. The tag is the one that was pinned, so that a batch that is run again answers the same."""
    command = [program, "score", "--model", f"models:/{model}/{version}", "--format", "jsonl", "--threads", "1", "--batch", "1"]
    return command + [f"--output-tag={output}"] + (["--registry", registry] if registry else [])


def selectors(values):
    """The distinct (model, requested version) of records that reach a model."""
    requests = (records.read(value) for value in values)
    return {(request.model, request.requested_version) for request in requests if request.problem is None}


def score(taken, plan, children=None):
    """Every record to what is written for it, in order: one result; a dead letter, with a result if it had an id."""
    children = _children if children is None else children
    requests = [records.read(record.value) for record in taken]
    answered, groups = [None] * len(taken), {}
    for index, request in enumerate(requests):
        if request.problem is None:
            choice = Choice(**plan.choices[(request.model, request.requested_version)])
            groups.setdefault(choice, []).append(index)
    for choice, members in groups.items():
        if choice.code:
            said = [{"error": {"code": choice.code, "message": choice.message}}] * len(members)
        else:
            lines = [requests[index].line for index in members]
            said = children.score(plan.command(choice), lines, plan.timeout, plan.environment)
        for index, words in zip(members, said, strict=True):
            answered[index] = (words, choice)
    for record, request, words in zip(taken, requests, answered, strict=True):
        yield from _outputs(record, request, words, plan)


def _outputs(record, request, answered, plan):
    problem, value = request.problem, None
    if answered is not None:
        words, choice = answered
        value = records.answer(request.request_id, words, choice.label, choice.fallback_from)
        error = words.get("error", {})
        if "not JSON: " in error.get("message", "") and error.get("code") == "invalid_request":
            problem = records.Problem(error["code"], error["message"], dead=True)
    elif problem is not None:
        value = records.failure(request.request_id, problem.code, problem.message)
    kept = problem is not None and problem.dead and plan.dead_letters
    if kept:
        place = (record.topic, record.partition, record.offset, record.timestamp_ms)
        yield Out(plan.dead_letters, record.key, record.value, records.dead_letter_headers(problem, *place, plan.group))
    if not kept or request.request_id is not None:
        yield Out(plan.results, None, value, records.origin_headers(record.partition, record.offset))

"""A running `forebay score`: JSON lines in, one JSON line out for each, in order."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections import OrderedDict

CHUNK = 256  # lines on their way at once; bounds what a pipe holds and what a time-out throws away
MOST = 8  # children one Python worker keeps: a model each


class ChildFailed(RuntimeError):
    """The child died, hung or answered out of turn. The task fails, and Spark tries it again elsewhere."""


def find(program):
    """Where the binary is on this machine: a path as it is, else what `--files` brought along, else PATH."""
    if os.sep in program:
        return program
    try:
        from pyspark import SparkFiles

        brought = SparkFiles.get(program)
        if os.access(brought, os.X_OK):
            return brought
    except (ImportError, AttributeError, TypeError, AssertionError):  # no Spark around
        pass
    return shutil.which(program) or program


def environment(extra):
    return {**os.environ, **extra}


class Child:
    """One process with one model. `timeout`: seconds a chunk may take, the loading of the model included."""

    def __init__(self, command, timeout, extra_environment=()):
        self.command, self.timeout = list(command), timeout
        self.sent = 0
        self.timed_out = False
        self.errors = tempfile.TemporaryFile()  # a pipe without a reader would fill
        try:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=environment(dict(extra_environment))
            )
        except OSError as error:
            self.errors.close()
            raise ChildFailed(f"{self.command[0]}: cannot be started: {error}") from error

    def score(self, lines):
        """The answers to `lines`, one each.

        Raises ChildFailed; the child is gone then.
        """
        answers = []
        for start in range(0, len(lines), CHUNK):
            answers += self._chunk(lines[start : start + CHUNK])
        return answers

    def _chunk(self, lines):
        watchdog = threading.Timer(self.timeout, self._expire)
        writer = threading.Thread(target=self._write, args=(lines,), daemon=True)
        watchdog.start()
        writer.start()
        try:
            return [self._read() for _ in lines]
        except ChildFailed:
            self.close()
            raise
        finally:
            watchdog.cancel()
            writer.join()

    def _write(self, lines):
        try:
            self.process.stdin.write(b"".join(line + b"\n" for line in lines))
            self.process.stdin.flush()
        except (OSError, ValueError):  # the reader sees the end of the answers
            pass

    def _read(self):
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            raise ChildFailed(self._why())
        self.sent += 1
        try:
            answered = json.loads(line)
            error = answered.get("error")
            in_turn = error is None or error.get("line", self.sent) == self.sent
        except (ValueError, AttributeError) as error:
            raise ChildFailed(f"{self._name()}: answered what is no answer: {line[:200]!r}") from error
        if not in_turn:
            raise ChildFailed(f"{self._name()}: answered line {error['line']} instead of {self.sent}")
        return answered

    def _expire(self):
        self.timed_out = True
        self.process.kill()

    def _name(self):
        return " ".join(self.command)

    def _why(self):
        if self.timed_out:
            return f"{self._name()}: no answer within {self.timeout} s"
        code = self.process.wait()
        self.errors.seek(0)
        output = self.errors.read()[-2000:].decode("utf-8", "replace").strip()
        return f"{self._name()}: ended with {code}: {output}"

    def close(self):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            try:
                stream.close()
            except OSError:
                pass


class Children:
    """Children by command, the longest unused one goes first."""

    def __init__(self, most=MOST):
        self.most, self.running = most, OrderedDict()

    def score(self, command, lines, timeout, extra_environment=()):
        key = (tuple(command), tuple(sorted(dict(extra_environment).items())))
        child = self.running.pop(key, None)
        if child is None or child.process.poll() is not None:
            if child is not None:
                child.close()
            while len(self.running) >= self.most:
                self.running.popitem(last=False)[1].close()
            child = Child(command, timeout, extra_environment)
        answers = child.score(lines)  # a child that fails is not kept
        self.running[key] = child
        return answers

    def close(self):
        while self.running:
            self.running.popitem()[1].close()

"""Which versions a micro-batch was promised. Written beside the checkpoint before anything is scored: when the batch is
run again, by a retry or after a kill, it is answered by the same versions, even if Production has moved meanwhile."""

import json
import subprocess

from .child import environment, find
from .choice import Choice, Registry
from .scoring import score_command

KEPT = 100  # micro-batches; Spark runs at most the last one again


class PinsFailed(RuntimeError):
    """The registry could not be read; the batch fails and is run again."""


class Chooser:
    """Makes choices on the driver. A version is tried (loaded once, no rows) before it is promised to a micro-batch."""

    def __init__(self, settings, run=subprocess.run):
        self.settings, self.run, self.loads = settings, run, {}

    def choices(self, selectors):
        """(model, requested version) to a Choice for every selector."""
        registry = self._registry()
        refused = set()

        def usable(model, version):
            if (model, version) in refused:
                return False
            if not self._loads(model, version):
                refused.add((model, version))  # within this batch; the next one tries again
                return False
            return True

        return {selector: registry.choose(*selector, usable) for selector in sorted(selectors)}

    def _registry(self):
        command = [find(self.settings.forebay), "models", "list", "--json"]
        command += ["--registry", self.settings.registry] if self.settings.registry else []
        done = self._run(command)
        if done.returncode != 0:
            raise PinsFailed(f"{' '.join(command)}: {done.stderr.decode('utf-8', 'replace').strip()}")
        return Registry(json.loads(done.stdout), self.settings.model, self.settings.stage)

    def _loads(self, model, version):
        if (model, version) not in self.loads:
            command = score_command(find(self.settings.forebay), self.settings.registry, model, version)
            if self._run(command).returncode != 0:
                return False
            self.loads[(model, version)] = True
        return True

    def _run(self, command):
        try:
            extra = environment(dict(self.settings.child_environment))
            return self.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.settings.timeout, env=extra)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PinsFailed(f"{' '.join(command)}: {error}") from error


def dump(choices):
    listed = [{"model": model, "asked": requested, "choice": choice.as_dict()} for (model, requested), choice in choices.items()]
    return json.dumps(listed)


def load(text):
    return {(it["model"], it["asked"]): Choice(**it["choice"]) for it in json.loads(text)}


class PinStore:
    """Files `forebay-pins/<batch>` in the checkpoint, through Hadoop's file systems, so wherever Spark can write."""

    def __init__(self, spark, checkpoint):
        self.jvm = spark._jvm
        self.folder = self._path(f"{checkpoint.rstrip('/')}/forebay-pins")
        self.files = self.folder.getFileSystem(spark._jsc.hadoopConfiguration())
        self.files.mkdirs(self.folder)

    def get(self, batch):
        path = self._path(self.folder, str(batch))
        if not self.files.exists(path):
            return None
        stream = self.files.open(path)
        try:
            return load(bytes(stream.readAllBytes()).decode())
        finally:
            stream.close()

    def put(self, batch, choices):
        whole, part = self._path(self.folder, str(batch)), self._path(self.folder, f".{batch}.part")
        stream = self.files.create(part, True)
        stream.write(dump(choices).encode())
        stream.close()
        if not self.files.rename(part, whole):
            raise PinsFailed(f"{whole.toString()}: cannot be written")
        self.files.delete(self._path(self.folder, str(batch - KEPT)), False)

    def _path(self, *parts):
        return self.jvm.org.apache.hadoop.fs.Path(*parts)

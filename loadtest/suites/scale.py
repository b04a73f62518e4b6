#!/usr/bin/env python3
"""What a request costs with several replicas of each service, and with more partitions.

    python3 loadtest/suites/scale.py --bin new=target/release [--bin old=OTHER/release] [--relay]

Starts the mesh on a Kafka that runs already (`compose/native.sh up kafka redis`), once for every combination of
replicas, partitions, rate and folder of binaries, the folders in turns within a round, and prints a table: latency, and the
processor time of the mesh and of the broker a request. The result topic is read by the load generator, whose own time is
not counted. `--relay` measures `forebay-loadtest relay-chain` beside them, once for each rate.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

SERVICES = ["ingestion", "preprocessing", "caching", "prediction", "publishing"]
TOPICS = ["requests_in", "results_out", "requests", "features", "predict", "predictions", "results", "replies", "dead_letters"]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def generator(binaries, *arguments, env=None):
    subprocess.run([os.path.join(binaries, "forebay-loadtest"), *arguments], check=True, stdout=subprocess.DEVNULL, env=env)


class Run:
    """One system under test on topics of its own; its processes end with it."""

    def __init__(self, options, label, binaries, partitions):
        self.options, self.label, self.binaries, self.partitions = options, label, binaries, partitions
        self.folder = tempfile.TemporaryDirectory()
        self.prefix = f"scale-{os.getpid()}-{time.time_ns() % 10**9}"
        self.processes, self.admin = [], []
        self.env = dict(os.environ, FOREBAY__KAFKA__BROKERS=options.brokers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        subprocess.run([os.path.join(self.binaries, "forebay-loadtest"), "topics", "delete", *self.topics],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env, check=False)
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def launch(self, name, command, env):
        log = open(self.path(name + ".log"), "wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        self.processes.append(process)
        return process

    def start_mesh(self, replicas):
        names = {topic: f"{self.prefix}.{topic}" for topic in TOPICS}
        self.topics = [*names.values(), f"{self.prefix}.models"]
        self.source, self.result = names["requests_in"], names["results_out"]
        partitions = str(self.partitions)
        generator(self.binaries, "topics", "create", "--partitions", partitions, *names.values(), env=self.env)
        generator(self.binaries, "topics", "create", "--compacted", "--partitions", partitions, self.topics[-1], env=self.env)
        common = {f"FOREBAY__TOPICS__{topic.upper()}": name for topic, name in names.items()}
        common |= {"FOREBAY__TOPICS__MODELS": self.topics[-1], "FOREBAY__KAFKA__CONSUMER_GROUP": self.prefix,
                   "FOREBAY__KAFKA__PARTITIONS": partitions, "FOREBAY__REDIS__URL": self.options.redis}
        pids = []
        for service in SERVICES:
            for replica in range(replicas):
                admin = free_port()
                env = self.env | common | {"FOREBAY__ADMIN__LISTEN": f"127.0.0.1:{admin}",
                                           "FOREBAY__HTTP__LISTEN": f"127.0.0.1:{free_port()}"}
                name = f"{service}-{replica}"
                process = self.launch(name, [os.path.join(self.binaries, f"forebay-{service}")], env)
                pids.append(f"{service}={process.pid}")
                self.admin.append((name, admin))
        for name, admin in self.admin:
            self.wait_ready(name, admin)
        if replicas > 1:
            time.sleep(6)  # the groups settle
        return pids

    def wait_ready(self, name, admin):
        for _ in range(600):
            try:
                if urllib.request.urlopen(f"http://127.0.0.1:{admin}/health/ready", timeout=2).status == 200:
                    return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.1)
        sys.exit(f"{name} is not ready after 60 s:\n" + open(self.path(name + ".log")).read()[-2000:])

    def start_relay(self, rate):
        self.topics = [f"{self.prefix}.in", f"{self.prefix}.out"]
        self.source, self.result = self.topics
        generator(self.binaries, "topics", "create", "--partitions", str(self.partitions), *self.topics, env=self.env)
        self.topics += [f"{self.prefix}.hop{hop}" for hop in range(1, 5)]
        pids = self.path("pids")
        self.launch("relay", [os.path.join(self.binaries, "forebay-loadtest"), "relay-chain", "--in", self.source, "--out",
                              self.result, "--prefix", self.prefix, "--partitions", str(self.partitions),
                              "--pack-wait-ms", "5" if rate >= 500 else "0", "--pids", pids], self.env)
        for _ in range(600):
            if b"READY" in open(self.path("relay.log"), "rb").read():
                return [line.strip() for line in open(pids) if line.strip()]
            time.sleep(0.1)
        sys.exit("the relay is not ready after 60 s")

    def measure(self, pids, rate):
        report = self.path("report.jsonl")
        watched = [argument for pid in [*pids, f"broker={self.options.broker_pid}"] for argument in ("--watch", pid)]
        ended = subprocess.run(
            [os.path.join(self.binaries, "forebay-loadtest"), "kafka", "--rate", str(rate), "--seconds",
             str(self.options.seconds), "--warmup", str(self.options.warmup), "--in", self.source, "--out", self.result,
             "--json", report, "--label", self.label, *watched], stdout=subprocess.DEVNULL, env=self.env, check=False)
        run = json.loads(open(report).readlines()[-1])
        if ended.returncode != 0:
            print(f"not clean: {self.label}: lost {run['lost']}, duplicates {run['duplicates']}, errors {run['errors']}")
        cost = {}
        for usage in run["usage"]:
            name = usage["name"] if not usage["name"].startswith("relay") else "relay"
            cost[name] = cost.get(name, 0.0) + usage["cpu_per_1000"] * 1000
        broker = cost.pop("broker", 0.0)
        cost.pop("generator", None)
        latency = run["latency_ms"]
        return {"mesh": sum(cost.values()), "broker": broker, "p50": latency["p50"], "p99": latency["p99"],
                "p999": latency["p999"], "parts": cost}


def numbers(text):
    return [int(number) for number in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", action="append", required=True, metavar="NAME=FOLDER", help="binaries; may be given several times")
    parser.add_argument("--brokers", default=os.environ.get("FOREBAY__KAFKA__BROKERS", "127.0.0.1:9092"))
    parser.add_argument("--redis", default=os.environ.get("FOREBAY__REDIS__URL", "redis://127.0.0.1:6379"))
    parser.add_argument("--broker-pid", type=int, required=True)
    parser.add_argument("--replicas", type=numbers, default=[1, 2, 4])
    parser.add_argument("--partitions", type=numbers, default=[4, 24])
    parser.add_argument("--rates", type=numbers, default=[1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=4)
    parser.add_argument("--relay", action="store_true")
    options = parser.parse_args()
    folders = [pair.split("=", 1) for pair in options.bin]
    cases = [(replicas, partitions, rate) for rate in options.rates for partitions in options.partitions for replicas in options.replicas]
    found = {}
    for turn in range(options.rounds):
        for replicas, partitions, rate in cases:
            systems = list(folders)
            if options.relay and replicas == options.replicas[0]:
                systems.append(["relay", folders[0][1]])
            for name, folder in systems if turn % 2 == 0 else reversed(systems):
                case = (name, 1 if name == "relay" else replicas, partitions, rate)
                with Run(options, str(case), folder, partitions) as run:
                    pids = run.start_relay(rate) if name == "relay" else run.start_mesh(replicas)
                    found.setdefault(case, []).append(run.measure(pids, rate))
                    one = found[case][-1]
                    print(f"# {case}: mesh {one['mesh']:.0f} broker {one['broker']:.0f} us, p50 {one['p50']:.1f} p99 {one['p99']:.1f}", flush=True)
    print("\n| binaries | replicas | partitions | rate | p50 ms | p99 ms | p99.9 ms | mesh us | broker us | sum us | by service |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for (name, replicas, partitions, rate), runs in found.items():
        def median(key):
            return statistics.median(run[key] for run in runs)
        parts = ", ".join(f"{part} {statistics.median(run['parts'].get(part, 0) for run in runs):.0f}" for part in runs[0]["parts"])
        total = statistics.median(run["mesh"] + run["broker"] for run in runs)
        print(f"| {name} | {replicas} | {partitions} | {rate} | {median('p50'):.1f} | {median('p99'):.1f} | {median('p999'):.1f} "
              f"| {median('mesh'):.0f} | {median('broker'):.0f} | {total:.0f} | {parts} |")


if __name__ == "__main__":
    main()

"""What the program says about itself, read from its sources: settings, legacy variables, probe paths, topics, metrics."""

import glob
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = [ROOT / f"shared/{crate}/settings.toml" for crate in ("runtime", "bus", "redis")]
HOUR = 3_600_000


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def defaults():
    """Every setting with its default, by dotted name in lower case; and the prefixes of free-form tables."""
    values, tables = {}, set()
    files = [*SHARED, *map(Path, sorted(glob.glob(f"{ROOT}/services/*/settings.toml")))]

    def walk(prefix, table):
        if not table and prefix:
            tables.add(prefix + ".")
        for key, value in table.items():
            name = f"{prefix}.{key}" if prefix else key
            if isinstance(value, dict):
                walk(name, value)
            else:
                values[name] = value

    for file in files:
        with open(file, "rb") as handle:
            walk("", tomllib.load(handle))
    return values, tables


def shared_sections():
    """Sections that every binary accepts in one common ConfigMap."""
    own = {section for file in SHARED for section in tomllib.loads(read(file))}
    listed = re.search(r"PROJECT_SECTIONS[^=]*=\s*&\[(.*?)\]", read("shared/runtime/src/settings/schema.rs"), re.S).group(1)
    return own | set(re.findall(r'"(\w+)"', listed))


def legacy_variables():
    listed = re.findall(r'\("([A-Z_]+)", \[', read("shared/runtime/src/settings/environment.rs"))
    return set(listed) | set(re.findall(r'"([A-Z][A-Z_]{4,})"', read("shared/bus/src/settings/event_hubs.rs")))


def probe_paths():
    paths = set(re.findall(r'\bresource\("(/[\w/]+)"\)', read("shared/runtime/src/admin.rs")))
    if not paths:
        raise SystemExit("no path is found in shared/runtime/src/admin.rs")
    return paths


def topics():
    """Topics as (setting, default name, retention in ms or "compacted")."""
    text = read("shared/contract/src/edges.rs")
    timed = re.findall(r'topic: topic\("(\w+)", "([\w.-]+)", ([^)]+)\)', text)
    compacted = re.findall(r'topic: Topic \{ setting: "(\w+)", name: "([\w.-]+)", retention: Retention::Compacted \}', text)
    return [(setting, name, product(expression)) for setting, name, expression in timed] + [(*names, "compacted") for names in compacted]


def readers_and_writers():
    """For each stage, the settings of the topics that it reads, and of those that it writes."""
    text = read("shared/contract/src/edges.rs")
    edges = re.findall(r'topic: (?:topic\(|Topic \{ setting: )"(\w+)".*?from: &\[(.*?)\],\s*to: &\[(.*?)\]', text, re.S)
    reads, writes = {}, {}
    for setting, writers, readers in edges:
        for table, peers in ((reads, readers), (writes, writers)):
            for stage in re.findall(r"\b[A-Z]{2,}\b", peers):
                table.setdefault(stage.lower(), set()).add(setting)
    return reads, writes


def product(expression):
    """`14 * 24 * HOUR`, `HOUR / 12`"""
    value = 1
    for sign, word in re.findall(r"([*/]?)\s*(\w+)", expression):
        number = HOUR if word == "HOUR" else int(word.replace("_", ""))
        value = value // number if sign == "/" else value * number
    return value


def metrics():
    """Names of gauges and counters that scaling may use, as they are exposed."""
    stage = read("shared/runtime/src/metrics/stage.rs")
    prefix = re.search(r'sub_registry_with_prefix\("(\w+)"\)', stage).group(1)
    names = {f"{prefix}_{name}" for name in re.findall(r'register\(\s*"(\w+)"', stage)}
    return names | set(re.findall(r'register\(\s*"(\w+)"', read("shared/runtime/src/metrics/legacy.rs")))

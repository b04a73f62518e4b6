"""Every variable of a pod is something that the program reads, with a value of the right type."""

import re

import program
from rendering import config_of, name_of, pod_of, services

DEFAULTS, TABLES = program.defaults()
SECTIONS = program.shared_sections()
LEGACY = program.legacy_variables()
# The standard variables that the program or its OTLP exporter reads.
STANDARD = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
DURATION = r"[0-9.]+(ms|s|m|h)( [0-9.]+(ms|s|m|h))*"
SIZE = r"[0-9]+([KMG]i)?B"


def check(docs):
    for deployment in services(docs):
        name, config = name_of(deployment), config_of(docs, deployment)
        for variable, value in config.items():
            if not variable.startswith("FOREBAY__"):
                if variable not in LEGACY | STANDARD and not is_ingredient(variable, deployment):
                    yield "variable", f"{name}: nothing reads the variable {variable}"
                continue
            key, is_file = key_of(variable)
            if key is None:
                yield "setting", f"{name}: {variable} is no setting of any service"
            elif key.split(".")[0] not in SECTIONS:
                yield "setting", f"{name}: services that have no section {key.split('.')[0]} refuse {variable}"
            elif is_file and not mounted(value, deployment):
                yield "file", f"{name}: {variable} names {value}, which nothing is mounted at"
            elif not is_file and value is not None and key in DEFAULTS and not fits(value, DEFAULTS[key]):
                yield "value", f"{name}: {variable} is {value!r}, its default is {DEFAULTS[key]!r}"
            if re.search(r"PASSWORD|TOKEN|SECRET", variable) and not is_file and value is not None:
                yield "plain-secret", f"{name}: {variable} is in the manifest"
        yield from check_mounts(deployment, config)


def key_of(variable):
    """The setting that a variable stands for, and whether its value is the name of a file with the value."""
    key = variable.removeprefix("FOREBAY__").lower().replace("__", ".")
    if known(key):
        return key, key.endswith("_file")
    if key.endswith("_file") and known(key.removesuffix("_file")):
        return key.removesuffix("_file"), True
    return None, False


def known(key):
    return key in DEFAULTS or key.startswith(tuple(TABLES))


def is_ingredient(variable, deployment):
    """Pod fields that other variables are made of."""
    return any(f"$({variable})" in entry.get("value", "") for c in pod_of(deployment)["containers"] for entry in c.get("env", []))


def fits(value, default):
    if isinstance(default, bool):
        return value in ("true", "false")
    if isinstance(default, int):
        return value.isdigit()
    if isinstance(default, float):
        return bool(re.fullmatch(r"[0-9.]+", value))
    for form in (DURATION, SIZE):
        if isinstance(default, str) and re.fullmatch(form, default):
            return bool(re.fullmatch(form, value))
    return True


def mounted(path, deployment):
    mounts = [m["mountPath"] for c in pod_of(deployment)["containers"] for m in c.get("volumeMounts", [])]
    return any(path.startswith(mount + "/") for mount in mounts)


def check_mounts(deployment, config):
    """A mount without a volume, or a folder that a setting names and nothing is mounted at."""
    name, pod = name_of(deployment), pod_of(deployment)
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield "mount", f"{name}: mounts volume {mount['name']}, which it does not have"
    folder = config.get("FOREBAY__MODELS__CACHE_DIR")
    mounts = {m["mountPath"]: volumes.get(m["name"], {}) for c in pod["containers"] for m in c.get("volumeMounts", [])}
    reads_models = deployment["spec"]["template"]["metadata"]["labels"].get("app.kubernetes.io/component") in ("preprocessing", "prediction", "fused")
    if reads_models and "emptyDir" not in mounts.get(folder, {}):
        yield "model-cache", f"{name}: has no folder of its own for model files at models.cache_dir ({folder})"

"""Usage: environment.py RENDERED.yaml FOLDER MADE : prints for each Deployment of the mesh its name, its binary and its variables, with
tabs between them. What a Secret would hold becomes a file in FOLDER (or a placeholder), so that `config check` finds it; keys and
certificates are those that `forebay keys init` has written to the folder MADE."""

import os
import sys

from rendering import config_of, load, name_of, services, stage_of

PLACEHOLDERS = {"EVENTHUB_CONNECTION": "", "FOREBAY_STAGE": "stage", "POD_NAME": "pod", "POD_NAMESPACE": "namespace"}
MADE = {"AUTH__KEYS_FILE": "keys", "TLS__CERT_FILE": "tls.crt", "TLS__KEY_FILE": "tls.key"}


def content(name, made):
    """What the file holds that the variable `name` points to."""
    for ending, file in MADE.items():
        if name.endswith(f"__{ending}"):
            with open(os.path.join(made, file), encoding="utf-8") as handle:
                return handle.read()
    return "redis://user:password@redis:6379/0\n" if "REDIS" in name else "password\n"


def main(path, folder, made):
    os.makedirs(folder, exist_ok=True)
    docs = load(path)
    for deployment in services(docs):
        config = config_of(docs, deployment)
        variables = []
        for name, value in config.items():
            value = PLACEHOLDERS.get(name, "") if value is None else value
            for pod_field in PLACEHOLDERS:
                value = value.replace(f"$({pod_field})", PLACEHOLDERS[pod_field])
            if name.endswith("_FILE"):
                value = os.path.join(folder, value.strip("/").replace("/", "-"))
                with open(value, "w", encoding="utf-8") as handle:
                    handle.write(content(name, made))
            variables.append(f"{name}={value}")
        stage = stage_of(deployment)
        print(name_of(deployment), "forebay" if stage == "fused" else f"forebay-{stage}", *variables, sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""`kubectl apply -k overlays/prod/<service>` rolls out that service and touches nothing else."""

from rendering import is_canary, labels_of, name_of, services

STAGES = ("ingestion", "preprocessing", "caching", "prediction", "publishing")


def check(renderings):
    """`renderings`: folder name under overlays/prod -> objects."""
    for stage in STAGES:
        if stage not in renderings:
            yield "prod-missing", f"there is no overlays/prod/{stage}"
    for folder, docs in renderings.items():
        stage = folder.removesuffix("-canary")
        if stage not in STAGES:
            continue
        for doc in docs:
            component = labels_of(doc).get("app.kubernetes.io/component")
            if component != stage and not (doc["kind"] == "ConfigMap" and component == "settings"):
                yield "prod-foreign", f"prod/{folder}: {doc['kind']} {name_of(doc)} belongs to {component}"
        expected = f"forebay-{folder}"
        if [name_of(d) for d in services(docs)] != [expected]:
            yield "prod-name", f"prod/{folder}: its Deployment is not {expected}"
        if folder.endswith("-canary"):
            yield from check_canary(folder, docs, renderings.get(stage, []))


def check_canary(folder, docs, old):
    """Beside the old build and not in its place: other names, same settings, objects of its own only."""
    shared = {(doc["kind"], name_of(doc)) for doc in docs} & {(doc["kind"], name_of(doc)) for doc in old}
    if any(kind != "ConfigMap" for kind, _ in shared):
        yield "canary-overlap", f"prod/{folder}: applies {sorted(shared)} of the old build as well"
    if "ConfigMap" not in {kind for kind, _ in shared}:
        yield "canary-settings", f"prod/{folder}: runs with other settings than the old build"
    images = {c["image"] for d in services(docs) if is_canary(d) for c in d["spec"]["template"]["spec"]["containers"]}
    if images & {c["image"] for d in services(old) for c in d["spec"]["template"]["spec"]["containers"]}:
        yield "canary-image", f"prod/{folder}: is the same build as the old one"

"""Usage: check.py NAME RENDERED.yaml ... : checks renderings of the whole mesh, and first that the checks can fail."""

import copy
import os
import sys

import yaml

import invariants

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def break_in(docs, kind, change):
    """A copy of the rendering with `change` done to its first object of that kind."""
    broken = copy.deepcopy(docs)
    change(invariants.of_kind(broken, kind)[0])
    return broken


def container(deployment):
    return invariants.pod_of(deployment)["containers"][0]


# What each check must complain about: (part of the complaint, kind, how to break it).
BREAKS = [
    ("spec.replicas", "Deployment", lambda d: d["spec"].update(replicas=3)),
    ("maxUnavailable 0", "Deployment", lambda d: d["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1)),
    ("spec.selector", "Deployment", lambda d: d["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/name": "x"})),
    ("grace period", "Deployment", lambda d: invariants.pod_of(d).update(terminationGracePeriodSeconds=25)),
    ("grace period", "ConfigMap", lambda m: m["data"].update(FOREBAY__DELIVERY__DRAIN="2m")),
    ("limits lacks memory", "Deployment", lambda d: container(d)["resources"]["limits"].pop("memory")),
    ("readinessProbe", "Deployment", lambda d: container(d)["readinessProbe"]["httpGet"].update(path="/ready")),
    ("livenessProbe", "Deployment", lambda d: container(d).pop("livenessProbe")),
    ("named metrics", "Deployment", lambda d: container(d)["ports"].clear()),
    ("root file system", "Deployment", lambda d: container(d)["securityContext"].update(readOnlyRootFilesystem=False)),
    ("user 65532", "Deployment", lambda d: invariants.pod_of(d)["securityContext"].update(runAsUser=0)),
    ("capabilities", "Deployment", lambda d: container(d)["securityContext"]["capabilities"].update(drop=[])),
    ("has no version", "Deployment", lambda d: container(d).update(image="forebay-x")),
    ("service account token", "Deployment", lambda d: invariants.pod_of(d).update(automountServiceAccountToken=True)),
    ("service account nobody", "Deployment", lambda d: invariants.pod_of(d).update(serviceAccountName="nobody")),
    ("ConfigMap absent", "Deployment", lambda d: container(d)["envFrom"][0]["configMapRef"].update(name="absent")),
    ("mounts a token", "ServiceAccount", lambda a: a.pop("automountServiceAccountToken")),
    ("no setting of any service", "ConfigMap", lambda m: m["data"].update(FOREBAY__KAFKA__BROKRES="x")),
    ("selects 0 Deployments", "Service", lambda s: s["spec"]["selector"].update({"app.kubernetes.io/name": "x"})),
    ("is no port of its pods", "Service", lambda s: s["spec"]["ports"][0].update(targetPort="web")),
    ("expected one for each", "Deployment", lambda d: d["metadata"].update(name="forebay-x")),
]


def main(paths):
    known, drain = invariants.known_settings(ROOT), invariants.default_drain(ROOT)
    failed = False
    for name, path in zip(paths[::2], paths[1::2]):
        with open(path, encoding="utf-8") as handle:
            docs = [doc for doc in yaml.safe_load_all(handle) if doc]
        wrong = list(invariants.check(docs, known, drain))
        failed |= bool(wrong)
        for line in wrong:
            print(f"{name}: {line}", file=sys.stderr)
        blind = [part for part, kind, change in BREAKS if not any(part in line for line in invariants.check(break_in(docs, kind, change), known, drain))]
        failed |= bool(blind)
        for part in blind:
            print(f"{name}: the check for '{part}' finds nothing in a manifest that was broken for it", file=sys.stderr)
        print(f"{name}: {len(docs)} objects, {len(wrong)} wrong; {len(BREAKS) - len(blind)} of {len(BREAKS)} planted mistakes found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

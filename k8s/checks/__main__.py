"""Usage: checks FOLDER : checks the renderings in it, and first that every check can fail.

FOLDER/<overlay>.yaml for whole overlays (dev, legacy), FOLDER/prod/<part>.yaml, FOLDER/combinations/<name>.yaml for the
combinations of components. Prints what is wrong; exit code 1 if anything is.
"""

import copy
import json
import re
import sys
from pathlib import Path

import legacy
import mutations
import network
import references
import rollout
import scaling
import schemas
import settings
import strimzi
import workloads
from rendering import load, name_of, of_kind

HERE = Path(__file__).resolve().parent
MODULES = (legacy, network, references, rollout, scaling, settings, strimzi, workloads)


def merged(renderings):
    """Several renderings of one namespace as one; equal objects (the shared ConfigMap) count once."""
    seen, docs = set(), []
    for doc in (doc for rendering in renderings for doc in rendering):
        text = json.dumps(doc, sort_keys=True)
        if text not in seen:
            seen.add(text)
            docs.append(doc)
    return docs


class Renderings:
    def __init__(self, folder):
        folder = Path(folder)
        self.prod = {path.stem: load(path) for path in sorted((folder / "prod").glob("*.yaml"))}
        self.whole = {path.stem: load(path) for path in sorted(folder.glob("*.yaml"))}
        self.combinations = {path.stem: load(path) for path in sorted((folder / "combinations").glob("*.yaml"))}
        self.whole["prod"] = merged(self.prod.values())
        self.whole["hpa"] = self.combinations["hpa"]

    def all(self):
        yield from self.whole.items()
        yield from ((f"prod/{name}", docs) for name, docs in self.prod.items())
        yield from ((f"combinations/{name}", docs) for name, docs in self.combinations.items())


def invariants(name, docs):
    """(rule, sentence) over one whole namespace."""
    scaled = bool(of_kind(docs, "HorizontalPodAutoscaler", "ScaledObject")) or name in ("prod", "legacy")
    for module in (workloads, settings, references, network, strimzi):
        yield from module.check(docs)
    yield from scaling.check(docs, scaled)
    if name in ("dev", "prod", "legacy"):
        yield from workloads.check_protection(name, docs)
    if name == "legacy":
        yield from legacy.check(docs)


def check_all(renderings):
    checked, wrong = {}, []
    for name, docs in renderings.all():
        for doc in docs:
            text = json.dumps(doc, sort_keys=True)
            if text not in checked:
                checked[text] = list(schemas.problems(doc))
            wrong += [f"{name}: {problem}" for problem in checked[text]]
    for name, docs in [*renderings.whole.items(), *((f"combinations/{n}", d) for n, d in renderings.combinations.items())]:
        wrong += [f"{name}: {sentence}" for _, sentence in invariants(name, docs)]
    wrong += [sentence for _, sentence in rollout.check(renderings.prod)]
    return len(checked), sorted(set(wrong))


def findings_of(rule, name, docs, broken, renderings):
    if rule == "schema":
        return {"schema"} if list(schemas.problems(broken)) else set()
    if name.startswith("prod/"):
        return {found for found, _ in rollout.check(renderings.prod | {name.removeprefix("prod/"): docs})}
    return {found for found, _ in invariants(name, docs)}


def plant(mutation, renderings):
    """None when the mistake is found, else a sentence."""
    rule, name, kind, part, change = mutation
    if change is None:  # the rendering itself is missing
        rest = {key: docs for key, docs in renderings.prod.items() if f"prod/{key}" != name}
        return None if rule in {found for found, _ in rollout.check(rest)} else f"{rule}: not noticed without {name}"
    docs = copy.deepcopy(renderings.prod[name.removeprefix("prod/")] if name.startswith("prod/") else renderings.whole[name])
    victims = [doc for doc in of_kind(docs, kind) if part in name_of(doc)]
    exact = [doc for doc in victims if name_of(doc) in (part, f"forebay-{part}")]
    if not victims:
        return f"{rule}: no {kind} {part} in {name} to break"
    victim = (exact or victims)[0]
    change(victim)
    return None if rule in findings_of(rule, name, docs, victim, renderings) else f"{rule}: not noticed in a broken {kind} {name_of(victim)} of {name}"


def rules():
    """Every rule that a check can report, from the checks' sources."""
    return {rule for module in MODULES for rule in re.findall(r'yield "([\w-]+)", f?"', (HERE / f"{module.__name__}.py").read_text(encoding="utf-8"))}


def main(folder):
    renderings = Renderings(folder)
    checked, wrong = check_all(renderings)
    blind = [sentence for sentence in (plant(mutation, renderings) for mutation in mutations.ALL) if sentence]
    blind += [f"{rule}: no mistake is planted for it" for rule in sorted(rules() - {mutation[0] for mutation in mutations.ALL})]
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    for line in blind:
        print(f"blind: {line}", file=sys.stderr)
    print(f"{sum(1 for _ in renderings.all())} renderings, {checked} different objects, {len(rules())} rules, {len(mutations.ALL) - len(blind)} of {len(mutations.ALL)} planted mistakes found")
    print(f"{len(mutations.ALL) - len(blind)} passed, {len(wrong) + len(blind)} failed")
    return 1 if wrong or blind else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""Which version answers, by the rules of the mesh: version numbers, aliases, `latest`, stages, else Production."""

import re
from dataclasses import asdict, dataclass

_NUMBER = re.compile(r"[vV]?\+?([0-9]+)")


@dataclass(frozen=True)
class Choice:
    """The version that a selector (model, requested version) resolves to, and what its results say; `code` and `message` instead when none can."""

    model: str = ""
    version: int = 0
    label: str = ""
    fallback_from: str = ""
    code: str = ""
    message: str = ""
    output: str = ""  # the version's tag forebay.output, as it was when the choice was made

    def as_dict(self):
        return asdict(self)


class Registry:
    """What `forebay models list --json` printed."""

    def __init__(self, models, default_model, stage):
        self.models = {model["name"]: sorted(model["versions"], key=lambda it: it["version"]) for model in models}
        self.default_model, self.stage = default_model, stage

    def choose(self, model, requested, usable):
        """The choice for a selector; `usable(model, version)` says whether a version can be loaded."""
        model = model or self.default_model
        versions = self.models.get(model)
        if versions is None:
            known = ", ".join(sorted(self.models)) or "none"
            return Choice(code="unknown_model", message=f'unknown model "{model}", known: {known}')
        found = self._find(versions, requested) if requested else None
        production = self._production(versions)
        wanted = found if found is not None else production
        candidates = [wanted, production, *(it["version"] for it in reversed(versions))]
        version = next((it for it in dict.fromkeys(candidates) if it is not None and usable(model, it)), None)
        if version is None:
            return Choice(code="model_unavailable", message=f'no version of model "{model}" can be used')
        answers = version == wanted
        exact = found is not None and answers
        fallback_from = "" if exact or (not requested and answers) else requested or f"v{wanted}"
        label = requested if exact and _NUMBER.fullmatch(requested) else f"v{version}"
        tag = next(it.get("output") for it in versions if it["version"] == version)
        return Choice(model, version, label, fallback_from, output=tag or "")

    def _find(self, versions, requested):
        number = _NUMBER.fullmatch(requested)
        if number:
            return next((it["version"] for it in versions if it["version"] == int(number.group(1))), None)
        if requested in (aliases := _aliases(versions)):
            return aliases[requested]
        if requested.lower() == "latest":
            return versions[-1]["version"] if versions else None
        return _staged(versions, requested)

    def _production(self, versions):
        found = self._find(versions, self.stage)
        if found is None:
            found = _staged(versions, "Production")
        return found if found is not None else versions[-1]["version"] if versions else None


def _aliases(versions):
    return {alias: it["version"] for it in versions for alias in it["aliases"]}


def _staged(versions, stage):
    """The highest version of a stage; Production may also be an alias of that name, or champion."""
    held = [it["version"] for it in versions if (it["stage"] or "").lower() == stage.lower()]
    if held or stage.lower() != "production":
        return held[-1] if held else None
    aliases = {alias.lower(): version for alias, version in sorted(_aliases(versions).items(), reverse=True)}
    return aliases.get("production", aliases.get("champion"))

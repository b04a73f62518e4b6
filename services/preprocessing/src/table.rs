//! The registry as the hot path sees it: every model with its versions compiled, and how a wish becomes one of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forebay_contract::{ErrorCode, Problem};
use forebay_model::{ModelView, Registry, VersionMeta};

use crate::plan::Plan;
use crate::row::{Rules, told, word};

/// All models at one moment; replaced as a whole.
#[derive(Debug)]
pub struct Table {
    default_model: String,
    models: HashMap<String, Shelf>,
}

/// One model. Versions that cannot be used are not in `plans`.
#[derive(Debug)]
struct Shelf {
    view: ModelView,
    plans: BTreeMap<u32, Arc<Plan>>,
    /// Version that answers who asks for none.
    production: u32,
}

/// The version pinned for a wish.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The version.
    pub plan: Arc<Plan>,
    /// How the result names it: as asked, when a version number was asked for and answers, else `v<N>`.
    pub label: String,
    /// What was asked for when another version was pinned, else empty.
    pub fallback_from: String,
}

impl Table {
    /// Reads and compiles everything the registry lists. Blocking: a version's artefact is read the first time.
    pub fn compile(registry: &Registry, default_model: &str, stage: &str, rules: &Rules) -> Self {
        let described = registry.models().into_iter().map(|view| {
            let metas = view.versions.iter().filter_map(|listed| {
                let meta = registry.describe(&view.name, listed.version);
                meta.inspect_err(|error| tracing::warn!(model = view.name, version = listed.version, %error, "version cannot be used")).ok()
            });
            let metas = metas.collect();
            (view, metas)
        });
        Self::new(default_model, stage, described, rules)
    }

    /// A table of `models`: what the registry lists and, of that, the versions that can be used.
    pub fn new(
        default_model: &str,
        stage: &str,
        models: impl IntoIterator<Item = (ModelView, Vec<VersionMeta>)>,
        rules: &Rules,
    ) -> Self {
        let shelf = |(view, metas): (ModelView, Vec<VersionMeta>)| {
            let production = view.resolve(Some(stage)).ok()?.version;
            let plans = metas.into_iter().map(|meta| (meta.version, Arc::new(Plan::new(meta, rules)))).collect();
            Some((view.name.clone(), Shelf { view, plans, production }))
        };
        Self { default_model: default_model.to_owned(), models: models.into_iter().filter_map(shelf).collect() }
    }

    /// Whether the model of requests that name none can be answered.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        self.choose("", "").map(|_| ()).map_err(|problem| problem.message)
    }

    /// Pins a version. An empty `model` is the default one, an empty `asked` its Production version; a version that
    /// does not exist or cannot be used is replaced by Production, that by the newest one that can be used.
    ///
    /// # Errors
    /// `unknown_model`; `model_unavailable` when no version can be used.
    pub fn choose(&self, model: &str, asked: &str) -> Result<Choice, Problem> {
        let model = if model.is_empty() { &self.default_model } else { model };
        let shelf = self.models.get(model).ok_or_else(|| self.unknown(model))?;
        shelf.choose(asked.trim()).ok_or_else(|| {
            Problem::new(ErrorCode::ModelUnavailable, format!("no version of model {} can be used", word(model)))
        })
    }

    fn unknown(&self, model: &str) -> Problem {
        let mut names: Vec<&String> = self.models.keys().collect();
        names.sort();
        let known = if names.is_empty() { "none".to_owned() } else { told(names.into_iter()) };
        Problem::new(ErrorCode::UnknownModel, format!("unknown model {}, known: {known}", word(model)))
    }
}

impl Shelf {
    fn choose(&self, asked: &str) -> Option<Choice> {
        let found =
            if asked.is_empty() { None } else { self.view.resolve(Some(asked)).ok().filter(|found| found.exact) };
        let wanted = found.map_or(self.production, |found| found.version);
        let plan = [wanted, self.production].iter().find_map(|version| self.plans.get(version));
        let plan = Arc::clone(plan.or_else(|| self.plans.values().next_back())?);
        let answers = plan.version == wanted;
        let fallback_from = match (asked.is_empty(), found.is_some() && answers) {
            (_, true) => String::new(),
            (false, false) => asked.to_owned(),
            (true, false) if answers => String::new(),
            (true, false) => format!("v{wanted}"),
        };
        let numbered = asked.strip_prefix(['v', 'V']).unwrap_or(asked).parse::<u32>().is_ok();
        let label = if found.is_some() && answers && numbered { asked.to_owned() } else { plan.label.clone() };
        Some(Choice { plan, label, fallback_from })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::{Missing, Preprocessing};
    use forebay_model::{Signature, VersionView};

    pub(crate) fn rules() -> Rules {
        Rules::from(&Preprocessing { missing: Missing::Impute, ranges: BTreeMap::new() })
    }

    /// A model of versions `(number, stage, usable)` that take `age, sex, bmi`; version 2 fills in what is missing.
    pub(crate) fn model(name: &str, versions: &[(u32, Option<&str>, bool)]) -> (ModelView, Vec<VersionMeta>) {
        let listed = |&(version, stage, _): &(u32, Option<&str>, bool)| VersionView {
            version,
            stage: stage.map(str::to_owned),
            flavor: "sklearn".into(),
            digest: [version as u8; 32],
        };
        let aliases = BTreeMap::from([("candidate".to_owned(), 1)]);
        let view =
            ModelView { name: name.into(), generation: 1, versions: versions.iter().map(listed).collect(), aliases };
        let meta = |&(version, ..): &(u32, Option<&str>, bool)| VersionMeta {
            name: name.into(),
            version,
            stage: None,
            flavor: "sklearn".into(),
            digest: [version as u8; 32],
            signature: Signature {
                features: ["age", "sex", "bmi"].map(str::to_owned).to_vec(),
                ..Signature::unnamed(3)
            },
            preprocessing: None,
            accepts_missing: version == 2,
            ops: Vec::new(),
            input_example: None,
        };
        let metas = versions.iter().filter(|(.., usable)| *usable).map(meta).collect();
        (view, metas)
    }

    fn table(versions: &[(u32, Option<&str>, bool)]) -> Table {
        Table::new("m", "Production", [model("m", versions), model("other", &[(9, None, true)])], &rules())
    }

    fn chosen(table: &Table, model: &str, asked: &str) -> (u32, String, String) {
        let choice = table.choose(model, asked).unwrap();
        (choice.plan.version, choice.label, choice.fallback_from)
    }

    fn is(version: u32, label: &str, from: &str) -> (u32, String, String) {
        (version, label.to_owned(), from.to_owned())
    }

    #[test]
    fn a_wish_is_pinned_and_named_as_asked() {
        let table = table(&[(1, None, true), (2, Some("Staging"), true), (3, Some("Production"), true)]);
        assert_eq!(chosen(&table, "", ""), is(3, "v3", ""));
        assert_eq!(chosen(&table, "m", "  "), is(3, "v3", ""));
        assert_eq!(chosen(&table, "m", "v1"), is(1, "v1", ""));
        assert_eq!(chosen(&table, "m", "1"), is(1, "1", ""));
        assert_eq!(chosen(&table, "", "staging"), is(2, "v2", ""));
        assert_eq!(chosen(&table, "", "candidate"), is(1, "v1", ""));
        assert_eq!(chosen(&table, "", "latest"), is(3, "v3", ""));
        assert_eq!(chosen(&table, "", "v7"), is(3, "v3", "v7"));
        assert_eq!(chosen(&table, "", "nonsense"), is(3, "v3", "nonsense"));
        assert_eq!(chosen(&table, "other", ""), is(9, "v9", ""), "without a Production version the newest answers");
    }

    #[test]
    fn the_stage_of_the_settings_answers_who_asks_for_nothing() {
        let versions = [(1, Some("Staging"), true), (2, Some("Production"), true)];
        let table = Table::new("m", "staging", [model("m", &versions)], &rules());
        assert_eq!(chosen(&table, "", ""), is(1, "v1", ""));
        assert_eq!(chosen(&table, "", "v9"), is(1, "v1", "v9"));
    }

    #[test]
    fn an_unusable_version_is_replaced() {
        let broken = table(&[(1, None, false), (2, None, true), (3, Some("Production"), true), (4, None, false)]);
        assert_eq!(chosen(&broken, "", "v1"), is(3, "v3", "v1"));
        let production = table(&[(1, None, true), (2, None, true), (3, Some("Production"), false)]);
        assert_eq!(chosen(&production, "", ""), is(2, "v2", "v3"));
        assert_eq!(chosen(&production, "", "v3"), is(2, "v2", "v3"));
        assert_eq!(chosen(&production, "", "v1"), is(1, "v1", ""));
    }

    #[test]
    fn what_cannot_be_pinned_is_a_problem() {
        let unknown = table(&[(1, None, true)]).choose("nobody", "").unwrap_err();
        assert_eq!(
            (unknown.code, unknown.message.as_str()),
            (ErrorCode::UnknownModel, "unknown model \"nobody\", known: m, other")
        );
        let none = table(&[(1, None, false)]);
        let unusable = none.choose("m", "v1").unwrap_err();
        assert_eq!(unusable.to_string(), "model_unavailable: no version of model \"m\" can be used");
        assert_eq!(none.ready().unwrap_err(), unusable.message);
    }
}

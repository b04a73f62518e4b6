//! The registry as the hot path sees it: every model with its versions compiled, and how a wish becomes one of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forebay_contract::{ErrorCode, Problem, SplitKey};
use forebay_model::{ModelView, VersionMeta};

use crate::plan::Plan;
use crate::row::{Rules, told, word};
use crate::split::Split;

/// What settings say, whatever the registry holds.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Model of requests that name none.
    pub model: String,
    /// The stage, or alias, whose version answers when none is asked for.
    pub stage: String,
    /// Of rows.
    pub rules: Rules,
    /// By model.
    pub splits: BTreeMap<String, Split>,
}

/// A model as it goes into a table.
#[derive(Debug)]
pub struct Listed {
    /// What the registry says.
    pub view: ModelView,
    /// The versions that can be used.
    pub metas: Vec<VersionMeta>,
    /// The Production version in effect: what the registry calls so, or the one before while that is not everywhere.
    pub production: u32,
}

/// All models at one moment; replaced as a whole.
#[derive(Debug)]
pub struct Table {
    default_model: String,
    models: HashMap<String, Shelf>,
    /// Versions of splits that are not there.
    missing: Vec<String>,
}

/// One model. Versions that cannot be used are not in `plans`.
#[derive(Debug)]
struct Shelf {
    view: ModelView,
    plans: BTreeMap<u32, Arc<Plan>>,
    /// Version that answers who asks for none.
    production: u32,
    /// What the registry calls Production, which may not be in effect yet.
    registered: u32,
    stage: String,
    /// Ends of buckets and what they mean; empty without a split.
    shares: Vec<(u16, Choice)>,
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
    /// Compiles `models`. One without a version is left out.
    pub fn new(policy: &Policy, models: impl IntoIterator<Item = Listed>) -> Self {
        let mut missing = Vec::new();
        let mut shelves = HashMap::new();
        for Listed { view, metas, production } in models {
            let Ok(registered) = view.resolve(Some(&policy.stage)) else { continue };
            let plan = |meta: VersionMeta| (meta.version, Arc::new(Plan::new(meta, &policy.rules)));
            let plans = metas.into_iter().map(plan).collect();
            let (name, stage) = (view.name.clone(), policy.stage.clone());
            let registered = registered.version;
            let mut shelf = Shelf { view, plans, production, registered, stage, shares: Vec::new() };
            if let Some(split) = policy.splits.get(&name) {
                shelf.shares = shelf.shares_of(split, |version| missing.push(format!("{name}: {version}")));
            }
            shelves.insert(name, shelf);
        }
        missing.extend(policy.splits.keys().filter(|name| !shelves.contains_key(*name)).cloned());
        Self { default_model: policy.model.clone(), models: shelves, missing }
    }

    /// Whether the model of requests that name none can be answered.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        self.choose("", "").map(|_| ()).map_err(|problem| problem.message)
    }

    /// Whether a version can be used.
    pub(crate) fn has(&self, model: &str, version: u32) -> bool {
        self.models.get(model).is_some_and(|shelf| shelf.plans.contains_key(&version))
    }

    /// Models and versions that a split names and the registry does not have; Production answers for them.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Pins a version. An empty `model` is the default one, an empty `asked` its Production version; a version that
    /// does not exist or cannot be used is replaced by Production, that by the newest one that can be used.
    ///
    /// # Errors
    /// `unknown_model`; `model_unavailable` when no version can be used.
    pub fn choose(&self, model: &str, asked: &str) -> Result<Choice, Problem> {
        let model = self.named(model);
        let shelf = self.models.get(model).ok_or_else(|| self.unknown(model))?;
        shelf.choose(asked.trim()).ok_or_else(|| {
            Problem::new(ErrorCode::ModelUnavailable, format!("no version of model {} can be used", word(model)))
        })
    }

    /// The version of a model's split for who asks for none; `None` for a model without one.
    pub fn share(&self, model: &str, key: impl FnOnce() -> SplitKey) -> Option<&Choice> {
        let model = self.named(model);
        let shares = &self.models.get(model)?.shares;
        if shares.is_empty() {
            return None;
        }
        let bucket = key().bucket(model);
        shares.iter().find(|(below, _)| bucket < *below).map(|(_, choice)| choice)
    }

    fn named<'a>(&'a self, model: &'a str) -> &'a str {
        if model.is_empty() { &self.default_model } else { model }
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
        let found = if asked.is_empty() { None } else { self.find(asked) };
        let wanted = found.unwrap_or(self.production);
        let plan = [wanted, self.production].iter().find_map(|version| self.plans.get(version));
        let plan = Arc::clone(plan.or_else(|| self.plans.values().next_back())?);
        let answers = plan.version == wanted;
        let fallback_from = match (asked.is_empty(), found.is_some() && answers) {
            (_, true) => String::new(),
            (false, false) => asked.to_owned(),
            (true, false) if answers => String::new(),
            (true, false) => format!("v{wanted}"),
        };
        let label = if found.is_some() && answers && is_number(asked) { asked.to_owned() } else { plan.label.clone() };
        Some(Choice { plan, label, fallback_from })
    }

    /// The version that a wish names. A name for Production means the version in effect.
    fn find(&self, asked: &str) -> Option<u32> {
        let found = self.view.resolve(Some(asked)).ok().filter(|found| found.exact)?.version;
        let production = ["production", "champion", &self.stage].iter().any(|name| asked.eq_ignore_ascii_case(name));
        Some(if production && found == self.registered { self.production } else { found })
    }

    /// What each share of a split means; Production answers for versions that are not there.
    fn shares_of(&self, split: &Split, mut missing: impl FnMut(&str)) -> Vec<(u16, Choice)> {
        let share = |(version, below): (&str, u16)| {
            let found = self.find(version).and_then(|number| self.plans.get(&number));
            let choice = match found {
                Some(plan) => {
                    Choice { plan: Arc::clone(plan), label: plan.label.clone(), fallback_from: String::new() }
                }
                None => {
                    missing(version);
                    self.choose("")?
                }
            };
            Some((below, choice))
        };
        split.shares().filter_map(share).collect()
    }
}

/// Whether a wish is a version number, as in `v3` or `3`.
fn is_number(asked: &str) -> bool {
    asked.strip_prefix(['v', 'V']).unwrap_or(asked).parse::<u32>().is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::{Missing, Preprocessing};
    use forebay_model::{Signature, VersionView};

    pub(crate) fn rules() -> Rules {
        let (split, ranges, gate) = (BTreeMap::new(), BTreeMap::new(), std::time::Duration::ZERO);
        Rules::from(&Preprocessing { missing: Missing::Impute, gate, split, ranges })
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

    /// `m` is the default model.
    pub(crate) fn policy(stage: &str, split: Option<&str>) -> Policy {
        let splits = split.map(|split| ("m".to_owned(), Split::parse(split).unwrap())).into_iter().collect();
        Policy { model: "m".into(), stage: stage.into(), rules: rules(), splits }
    }

    /// With what the registry calls Production in effect.
    pub(crate) fn listed(stage: &str, (view, metas): (ModelView, Vec<VersionMeta>)) -> Listed {
        let production = view.resolve(Some(stage)).unwrap().version;
        Listed { view, metas, production }
    }

    fn table(versions: &[(u32, Option<&str>, bool)]) -> Table {
        split(versions, None)
    }

    fn split(versions: &[(u32, Option<&str>, bool)], split: Option<&str>) -> Table {
        let models = [model("m", versions), model("other", &[(9, None, true)])];
        Table::new(&policy("Production", split), models.map(|model| listed("Production", model)))
    }

    /// How many of 10,000 users each version gets.
    fn shares(table: &Table) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for user in 0..10_000 {
            let choice = table.share("", || SplitKey::of_text(&user.to_string())).unwrap();
            assert_eq!((choice.label.as_str(), choice.fallback_from.as_str()), (choice.plan.label.as_str(), ""));
            *counts.entry(choice.plan.version).or_insert(0) += 1;
        }
        counts
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
        let table = Table::new(&policy("staging", None), [listed("staging", model("m", &versions))]);
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

    #[test]
    fn a_production_that_is_not_in_effect_yet_answers_only_who_asks_for_its_number() {
        let versions = [(1, None, true), (2, Some("Production"), true)];
        let (view, metas) = model("m", &versions);
        let table = Table::new(&policy("Production", None), [Listed { view, metas, production: 1 }]);
        for asked in ["", "production", "Production"] {
            assert_eq!(chosen(&table, "", asked), is(1, "v1", ""), "{asked:?}");
        }
        assert_eq!(chosen(&table, "", "v2"), is(2, "v2", ""));
        assert_eq!(chosen(&table, "", "latest"), is(2, "v2", ""));
        assert_eq!(chosen(&table, "", "v9"), is(1, "v1", "v9"));
    }

    #[test]
    fn a_split_shares_out_who_asks_for_nothing() {
        let versions = [(1, None, true), (2, Some("Production"), true), (3, None, true)];
        let table = split(&versions, Some("v3=20, candidate=10, production=70"));
        let counts = shares(&table);
        for (version, expected) in [(3, 2000), (1, 1000), (2, 7000)] {
            assert!(counts[&version].abs_diff(expected) < 200, "{counts:?}");
        }
        assert_eq!(table.missing(), [""; 0]);
        assert!(table.share("other", || unreachable!()).is_none(), "the key is not made without need");
        assert_eq!(chosen(&table, "", "v1"), is(1, "v1", ""), "who asks gets what they ask for");

        let moved = split(&versions, Some("v3=10, candidate=20, production=70"));
        for user in 0..1000 {
            let of = |table: &Table| table.share("m", || SplitKey::of_text(&user.to_string())).unwrap().plan.version;
            let (before, after) = (of(&table), of(&moved));
            assert!(before == after || (before, after) == (3, 1), "{before} {after}");
        }
    }

    #[test]
    fn production_answers_for_the_share_of_a_version_that_is_not_there() {
        let versions = [(1, None, false), (2, Some("Production"), true)];
        let table = split(&versions, Some("v1=50, v7=25, v2=25"));
        assert_eq!(shares(&table), BTreeMap::from([(2, 10_000)]));
        assert_eq!(table.missing(), ["m: v1", "m: v7"]);
        let nowhere = Table::new(&policy("Production", Some("v1=1")), []);
        assert_eq!(nowhere.missing(), ["m"]);
    }
}

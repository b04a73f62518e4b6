//! Which version answers which request.

use super::*;
use crate::catalog::samples::{listed, model, policy};

fn table(versions: &[(u32, Option<&str>, bool)]) -> CatalogSnapshot {
    split(versions, None)
}

fn split(versions: &[(u32, Option<&str>, bool)], split: Option<&str>) -> CatalogSnapshot {
    let models = [model("m", versions), model("other", &[(9, None, true)])];
    CatalogSnapshot::new(&policy("Production", split), models.map(|model| listed("Production", model)))
}

/// How many of 10,000 users each version gets.
fn shares(table: &CatalogSnapshot) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for user in 0..10_000 {
        let choice = table.split("", || SplitKey::of_text(&user.to_string())).unwrap();
        assert_eq!((choice.label.as_str(), choice.fallback_from.as_str()), (choice.version.label.as_str(), ""));
        *counts.entry(choice.version.version).or_insert(0) += 1;
    }
    counts
}

fn chosen(snapshot: &CatalogSnapshot, model: &str, requested: &str) -> (u32, String, String) {
    let choice = snapshot.resolve(model, requested).unwrap();
    (choice.version.version, choice.label, choice.fallback_from)
}

fn is(version: u32, label: &str, from: &str) -> (u32, String, String) {
    (version, label.to_owned(), from.to_owned())
}

#[test]
fn a_requested_version_is_pinned_and_named_as_requested() {
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
fn the_stage_of_the_settings_answers_requests_without_a_version() {
    let versions = [(1, Some("Staging"), true), (2, Some("Production"), true)];
    let table = CatalogSnapshot::new(&policy("staging", None), [listed("staging", model("m", &versions))]);
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
    let unknown = table(&[(1, None, true)]).resolve("absent", "").unwrap_err();
    assert_eq!(
        (unknown.code, unknown.message.as_str()),
        (ErrorCode::UnknownModel, "unknown model \"absent\"; GET /v1/models lists what is served")
    );
    let none = table(&[(1, None, false)]);
    let unusable = none.resolve("m", "v1").unwrap_err();
    assert_eq!(unusable.to_string(), "model_unavailable: no version of model \"m\" can be used");
    assert_eq!(none.ready().unwrap_err(), unusable.message);
}

#[test]
fn a_production_that_is_not_in_effect_yet_answers_only_requests_for_its_number() {
    let versions = [(1, None, true), (2, Some("Production"), true)];
    let (view, described) = model("m", &versions);
    let table =
        CatalogSnapshot::new(&policy("Production", None), [ListedModel { view, versions: described, production: 1 }]);
    for requested in ["", "production", "Production"] {
        assert_eq!(chosen(&table, "", requested), is(1, "v1", ""), "{requested:?}");
    }
    assert_eq!(chosen(&table, "", "v2"), is(2, "v2", ""));
    assert_eq!(chosen(&table, "", "latest"), is(2, "v2", ""));
    assert_eq!(chosen(&table, "", "v9"), is(1, "v1", "v9"));
}

#[test]
fn requests_without_a_version_are_split() {
    let versions = [(1, None, true), (2, Some("Production"), true), (3, None, true)];
    let table = split(&versions, Some("v3=20, candidate=10, production=70"));
    let counts = shares(&table);
    for (version, expected) in [(3, 2000), (1, 1000), (2, 7000)] {
        assert!(counts[&version].abs_diff(expected) < 200, "{counts:?}");
    }
    assert_eq!(table.missing(), [""; 0]);
    assert!(table.split("other", || unreachable!()).is_none(), "the key is not made without need");
    assert_eq!(chosen(&table, "", "v1"), is(1, "v1", ""), "a request for a version gets that version");

    let moved = split(&versions, Some("v3=10, candidate=20, production=70"));
    for user in 0..1000 {
        let of = |table: &CatalogSnapshot| {
            table.split("m", || SplitKey::of_text(&user.to_string())).unwrap().version.version
        };
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
    let nowhere = CatalogSnapshot::new(&policy("Production", Some("v1=1")), []);
    assert_eq!(nowhere.missing(), ["m"]);
}

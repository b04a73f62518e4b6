//! The checks of rows, of numbers and of typed values.

use std::collections::BTreeMap;

use forebay_contract::{ErrorCode, Problem, Value};
use forebay_registry::ColumnKind;

use super::*;
use crate::settings::{ExtraColumns, MissingValues, Settings};

fn shape(missing: MissingValues, accepts: bool) -> RowShape {
    of_rules(&rules(missing, ExtraColumns::Reject), accepts)
}

fn of_rules(rules: &RowRules, accepts: bool) -> RowShape {
    RowShape::new("m", names(&["age", "sex", "bmi"]), accepts, rules)
}

/// The feature bmi has a range.
fn rules(missing: MissingValues, extra: ExtraColumns) -> RowRules {
    let mut settings = forebay_testkit::settings(&[crate::DEFAULTS]).read(Settings::read).unwrap();
    settings.preprocessing.missing = missing;
    settings.features.extra = extra;
    settings.preprocessing.ranges = BTreeMap::from([("m".into(), BTreeMap::from([("bmi".into(), (0.0, 50.0))]))]);
    RowRules::from(&settings)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn message_of(result: Result<Vec<f64>, Problem>) -> String {
    let problem = result.unwrap_err();
    assert_eq!(problem.code, ErrorCode::InvalidFeatures);
    problem.message
}

#[test]
fn a_sound_row_passes_as_it_is() {
    let shape = shape(MissingValues::Impute, false);
    assert_eq!(shape.check(vec![1.0, -0.0, 3.0], &[]).unwrap()[1].to_bits(), (-0.0f64).to_bits());
    let in_order = names(&["age", "sex", "bmi"]);
    assert_eq!(shape.check(vec![1.0, 2.0, 3.0], &in_order).unwrap(), [1.0, 2.0, 3.0]);
}

#[test]
fn a_wrong_width_is_reported_with_the_names() {
    let shape = shape(MissingValues::Impute, true);
    assert_eq!(message_of(shape.check(vec![1.0; 2], &[])), "expected 3 features (age, sex, bmi), got 2");
    assert_eq!(message_of(shape.check(vec![1.0; 4], &[])), "expected 3 features (age, sex, bmi), got 4");
    assert_eq!(message_of(shape.check(vec![], &[])), "expected 3 features (age, sex, bmi), got 0");
}

#[test]
fn many_names_are_cut() {
    let all: Vec<String> = (0..100).map(|i| format!("f{i}")).collect();
    let shape = RowShape::new("w", all, false, &rules(MissingValues::Impute, ExtraColumns::Ignore));
    let text = message_of(shape.check(vec![], &[]));
    assert!(text.contains("f11 and 88 more") && text.len() < 200, "{text}");
}

#[test]
fn named_values_are_put_in_order() {
    let shape = shape(MissingValues::Impute, false);
    let row = shape.check(vec![3.0, 1.0, 2.0], &names(&["bmi", "age", "sex"])).unwrap();
    assert_eq!(row, [1.0, 2.0, 3.0]);
}

#[test]
fn wrong_names_are_named() {
    let shape = shape(MissingValues::Impute, false);
    let check = |given: &[&str]| message_of(shape.check(vec![1.0; given.len()], &names(given)));
    assert_eq!(check(&["age", "sex", "height"]), "unknown feature \"height\", expected age, sex, bmi");
    assert_eq!(check(&["age", "sex", "age"]), "feature \"age\" is given twice");
    assert_eq!(check(&["age", "sex"]), "feature bmi is missing and cannot be filled in");
    assert_eq!(check(&["sex"]), "features age, bmi are missing and cannot be filled in");
    assert_eq!(message_of(shape.check(vec![1.0], &names(&["age", "sex"]))), "2 names for 1 values");
    let long = "x".repeat(10_000);
    assert!(check(&[&long]).len() < 200);
}

#[test]
fn missing_values_need_a_rule() {
    let gap = || vec![1.0, f64::NAN, 3.0];
    assert_eq!(
        message_of(shape(MissingValues::Impute, false).check(gap(), &[])),
        "feature sex is missing and cannot be filled in"
    );
    assert_eq!(
        message_of(shape(MissingValues::Reject, true).check(gap(), &[])),
        "feature sex is missing and cannot be filled in"
    );
    assert!(shape(MissingValues::Impute, true).check(gap(), &[]).unwrap()[1].is_nan());
    assert!(shape(MissingValues::Impute, true).check(vec![1.0, 2.0], &names(&["age", "bmi"])).unwrap()[1].is_nan());
}

#[test]
fn every_nan_is_the_same() {
    let other = f64::from_bits(f64::NAN.to_bits() | 0xbeef);
    let row = shape(MissingValues::Impute, true).check(vec![1.0, other, -f64::NAN], &[]).unwrap();
    assert!(row[1..].iter().all(|value| value.to_bits() == f64::NAN.to_bits()));
}

#[test]
fn values_out_of_range_are_named() {
    let shape = shape(MissingValues::Impute, true);
    assert_eq!(message_of(shape.check(vec![1.0, 2.0, 50.5], &[])), "feature bmi is 50.5, expected 0 to 50");
    assert_eq!(message_of(shape.check(vec![1.0, f64::INFINITY, 1.0], &[])), "feature sex is not finite");
    assert!(shape.check(vec![1.0, 2.0, f64::NAN], &[]).is_ok(), "a missing value is in every range");
}

fn typed() -> RowShape {
    let kinds = vec![ColumnKind::Integer, ColumnKind::Text, ColumnKind::Float];
    of_rules(&rules(MissingValues::Impute, ExtraColumns::Ignore), false).with_columns(kinds, vec![false, true, true])
}

fn typed_message(mixed: Vec<Value>) -> String {
    let problem = typed().check_row(Vec::new(), mixed, &[]).unwrap_err();
    assert_eq!(problem.code, ErrorCode::InvalidFeatures);
    problem.message
}

#[test]
fn values_get_the_kinds_of_their_columns() {
    let mixed = vec![Value::float(2.0), Value::integer(7), Value::boolean(true)];
    let row = typed().check_row(Vec::new(), mixed, &[]).unwrap();
    assert_eq!(row, CheckedRow::Values(vec![Value::integer(2), Value::text("7"), Value::float(1.0)]));
    let numbers = typed().check_row(vec![2.0, 7.0, 1.5], Vec::new(), &[]).unwrap();
    assert_eq!(numbers, CheckedRow::Values(vec![Value::integer(2), Value::text("7"), Value::float(1.5)]));
    let named = typed().check_row(vec![1.5, 7.0, 2.0], Vec::new(), &names(&["bmi", "sex", "age"])).unwrap();
    assert_eq!(named, numbers);
    let long = vec![Value::integer(i64::MAX), Value::MISSING, Value::float(1.0)];
    assert!(matches!(typed().check_row(Vec::new(), long, &[]), Ok(CheckedRow::Values(_))), "no double holds it");
    let without = vec![Value::integer(1), Value::MISSING, Value::float(-0.0)];
    let Ok(CheckedRow::Numbers(row)) = typed().check_row(Vec::new(), without, &[]) else { panic!() };
    assert_eq!((row[0], row[1].to_bits(), row[2].to_bits()), (1.0, f64::NAN.to_bits(), (-0.0f64).to_bits()));
    let Ok(CheckedRow::Numbers(zero)) = typed().check_row(vec![0.0, f64::NAN, -0.0], Vec::new(), &[]) else { panic!() };
    assert_eq!(zero[2].to_bits(), (-0.0f64).to_bits());
}

#[test]
fn values_of_another_kind_are_named() {
    let text = || Value::text("x");
    let one = || Value::integer(1);
    assert!(typed_message(vec![Value::float(1.5), text(), one()]).starts_with("feature age: expected an integer"));
    assert!(
        typed_message(vec![text(), text(), one()])
            .contains("feature age: expected an integer of 64 bits, got the text")
    );
    assert!(typed_message(vec![one(), Value::float(1.0), one()]).starts_with("feature sex: expected text"));
    assert_eq!(typed_message(vec![Value::MISSING, text(), one()]), "feature age is missing and cannot be filled in");
    assert_eq!(typed_message(vec![one(); 6]), "expected 3 features (age, sex, bmi), got 6");
    assert!(typed_message(vec![one(), text(), Value::integer(51)]).contains("feature bmi is 51, expected 0 to 50"));
    let fine = typed().check_row(Vec::new(), vec![one(), text(), Value::MISSING], &[]);
    assert!(fine.is_ok(), "a missing value is in every range");
}

#[test]
fn text_is_refused_where_all_columns_are_numbers() {
    let shape = shape(MissingValues::Impute, false);
    let check = |mixed| shape.check_row(Vec::new(), mixed, &[]);
    let one = || Value::integer(1);
    assert_eq!(check(vec![one(), Value::boolean(true), one()]), Ok(CheckedRow::Numbers(vec![1.0, 1.0, 1.0])));
    let problem = check(vec![one(), Value::text("f"), one()]).unwrap_err();
    assert_eq!(problem.message, "feature sex: expected a number, got the text \"f\"");
}

#[test]
fn columns_that_the_model_does_not_have_are_ignored_or_refused() {
    let rules = rules(MissingValues::Impute, ExtraColumns::Ignore);
    let ignoring = of_rules(&rules, true);
    let given = names(&["age", "note", "sex", "bmi"]);
    assert_eq!(ignoring.check(vec![1.0, 9.0, 2.0, 3.0], &given).unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(rules.extra_rows("m").get(), 1);
    let rejecting = shape(MissingValues::Impute, true);
    let problem = rejecting.check(vec![1.0, 9.0, 2.0, 3.0], &given).unwrap_err();
    assert_eq!(problem.message, "unknown feature \"note\", expected age, sex, bmi");
    let misspelt = ignoring.check(vec![1.0, 2.0, 3.0], &names(&["age", "sex", "BMI"])).unwrap_err();
    assert_eq!(misspelt.message, "feature bmi is missing, and the unknown feature \"BMI\" is named like it");
    assert!(ignoring.check(vec![1.0, 2.0, 3.0], &names(&["age", "sex", "weight"])).unwrap()[2].is_nan());
    assert_eq!(rules.extra_rows("m").get(), 2, "a refused row is not counted");
    let none = ignoring.check(vec![1.0], &names(&["height"])).unwrap_err();
    assert_eq!(none.message, "unknown feature \"height\", expected age, sex, bmi", "no column of the model is there");
}

//! Which columns of a model may be missing: those that a step fills in, or that every estimator that reads them lets be.
#![cfg(test)]

use std::path::Path;

use forebay_model::load_folder;

#[track_caller]
fn may_be_missing(folder: &str, want: &[bool]) {
    let loaded = load_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder)).unwrap();
    let got: Vec<bool> = (0..want.len()).map(|index| loaded.may_be_missing(index)).collect();
    assert_eq!(got, want, "{:?}", loaded.signature.features);
    assert_eq!(loaded.columns.len(), want.len());
}

#[test]
fn an_imputer_of_some_columns() {
    // income is imputed, city encoded without a category for missing values, visits scaled
    may_be_missing("wide/null_imputed_beside_onehot", &[true, false, false]);
    may_be_missing("wide/null_imputed_beside_scaled", &[true, false]);
}

#[test]
fn members_that_impute_other_columns() {
    may_be_missing("wide/null_voting", &[true, false]);
}

#[test]
fn encoders_that_ignore_what_is_unknown() {
    may_be_missing("wide/xgb_sparse_columns", &[true, true, false, true]);
}

#[test]
fn a_category_of_catboost_has_no_missing_value() {
    may_be_missing("boosters/cat_category_0", &[true, false, false, true, false]);
}

//! Models for tests.

use std::collections::BTreeMap;

use forebay_registry::{Inputs, ModelView, Output, VersionMeta, VersionView};

use super::{CatalogPolicy, ListedModel};
use crate::row::RowRules;
use crate::served_version::DescribedVersion;
use crate::settings::Settings;
use crate::traffic_split::TrafficSplit;

pub(crate) fn rules() -> RowRules {
    RowRules::from(&forebay_testkit::settings(&[crate::DEFAULTS]).read(Settings::read).unwrap())
}

/// A model of versions `(number, stage, usable)` that take `age, sex, bmi`; version 2 fills in what is missing.
pub(crate) fn model(name: &str, versions: &[(u32, Option<&str>, bool)]) -> (ModelView, Vec<DescribedVersion>) {
    let listed = |&(version, stage, _): &(u32, Option<&str>, bool)| VersionView {
        version,
        stage: stage.map(str::to_owned),
        flavor: "sklearn".into(),
        digest: [version as u8; 32],
        output: None,
    };
    let aliases = BTreeMap::from([("candidate".to_owned(), 1)]);
    let view = ModelView { name: name.into(), generation: 1, versions: versions.iter().map(listed).collect(), aliases };
    let described = |&(version, ..): &(u32, Option<&str>, bool)| DescribedVersion {
        meta: VersionMeta {
            name: name.into(),
            version,
            stage: None,
            flavor: "sklearn".into(),
            digest: [version as u8; 32],
            inputs: Inputs::Unknown,
            preprocessing: None,
            output: Ok(Output::Predict),
            params: Vec::new(),
        },
        features: ["age", "sex", "bmi"].map(str::to_owned).to_vec(),
        kinds: Vec::new(),
        optional: Vec::new(),
        accepts_missing: Some(version == 2),
    };
    let usable = versions.iter().filter(|(.., usable)| *usable).map(described).collect();
    (view, usable)
}

/// `m` is the default model.
pub(crate) fn policy(stage: &str, split: Option<&str>) -> CatalogPolicy {
    let splits = split.map(|split| ("m".to_owned(), TrafficSplit::parse(split).unwrap())).into_iter().collect();
    CatalogPolicy { model: "m".into(), stage: stage.into(), rules: rules(), splits }
}

/// With the registry's Production in effect.
pub(crate) fn listed(stage: &str, (view, versions): (ModelView, Vec<DescribedVersion>)) -> ListedModel {
    let production = view.resolve(Some(stage)).unwrap().version;
    ListedModel { view, versions, production }
}

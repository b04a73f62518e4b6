//! The settings of all five services, read once.

use forebay_bus::BusSettings;
use forebay_registry::ModelSettings;
use forebay_runtime::{DefaultSettings, Layers, LoadedSettings, Problems, SettingsArgs, SettingsError, load_settings};

/// The settings of the edges and of each service.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) bus: BusSettings,
    pub(crate) ingestion: forebay_ingestion::settings::Settings,
    pub(crate) preprocessing: forebay_preprocessing::Settings,
    pub(crate) caching: forebay_caching::Settings,
    pub(crate) prediction: forebay_prediction::Settings,
    pub(crate) publishing: forebay_publishing::Settings,
}

const BUNDLES: [DefaultSettings; 6] = [
    forebay_bus::DEFAULTS,
    forebay_ingestion::DEFAULTS,
    forebay_preprocessing::DEFAULTS,
    forebay_caching::DEFAULTS,
    forebay_prediction::DEFAULTS,
    forebay_publishing::DEFAULTS,
];

impl Settings {
    /// The section `[models]`, which several services read.
    pub(crate) fn models(&self) -> &ModelSettings {
        &self.prediction.models
    }

    /// Reads every layer and reports all problems at once.
    pub(crate) fn open(args: &SettingsArgs) -> Result<LoadedSettings<Self>, SettingsError> {
        load_settings(&BUNDLES, args, Self::read)
    }

    /// As [`Settings::open`], for a process that opens the HTTP listener.
    pub(crate) fn open_to_serve(args: &SettingsArgs) -> Result<LoadedSettings<Self>, SettingsError> {
        load_settings(&BUNDLES, args, |layers, problems| {
            let settings = Self::read(layers, problems)?;
            settings.ingestion.check_callers(problems);
            Some(settings)
        })
    }

    fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let bus = BusSettings::read(layers, problems);
        let ingestion = forebay_ingestion::settings::Settings::read(layers, problems);
        let preprocessing = forebay_preprocessing::Settings::read(layers, problems);
        let caching = forebay_caching::Settings::read(layers, problems);
        let prediction = forebay_prediction::Settings::read(layers, problems);
        let publishing = forebay_publishing::Settings::read(layers, problems);
        Some(Self {
            bus: bus?,
            ingestion: ingestion?,
            preprocessing: preprocessing?,
            caching: caching?,
            prediction: prediction?,
            publishing: publishing?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_testkit::settings;

    /// A ConfigMap with the settings of all services must fit each of them: a binary ignores the sections of the
    /// others.
    #[test]
    fn every_service_accepts_the_settings_of_all() {
        let everything: String = BUNDLES.iter().map(|defaults| defaults.toml).collect();
        for defaults in BUNDLES {
            let problems = settings(&[defaults]).file(&everything).layers().problems().into_result();
            assert!(problems.is_ok(), "{}: {problems:?}", defaults.name);
        }
    }
}

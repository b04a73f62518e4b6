//! Settings as a process reads them, from sources that a test gives.

use forebay_bus::BusSettings;
use forebay_runtime::{COMMON_DEFAULTS, CommonSettings, DefaultSettings, Host, Layers, Problems, SettingsError};

/// The sources of settings, each empty until it is set. Those that every service has are always among them.
#[derive(Clone, Debug)]
pub struct SettingsSources<'a> {
    defaults: Vec<DefaultSettings>,
    file: &'a str,
    environment: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

/// The common defaults and those of the bus, and those of `services` on top.
pub fn settings<'a>(services: &[DefaultSettings]) -> SettingsSources<'a> {
    let defaults = [&[COMMON_DEFAULTS, forebay_bus::DEFAULTS], services].concat();
    SettingsSources { defaults, file: "", environment: &[], flags: &[] }
}

impl<'a> SettingsSources<'a> {
    /// Sets the text of the settings file.
    #[must_use]
    pub fn file(mut self, text: &'a str) -> Self {
        self.file = text;
        self
    }

    /// Sets the environment variables.
    #[must_use]
    pub fn environment(mut self, variables: &'a [(&'a str, &'a str)]) -> Self {
        self.environment = variables;
        self
    }

    /// Sets the `section.key=value` flags.
    #[must_use]
    pub fn flags(mut self, flags: &'a [&'a str]) -> Self {
        self.flags = flags;
        self
    }

    /// The sources, merged.
    #[track_caller]
    pub fn layers(&self) -> Layers {
        Layers::from_parts(&self.defaults, self.file, self.environment, self.flags).unwrap()
    }

    /// What `section` reads, such as `Settings::read` of a stage.
    ///
    /// # Errors
    /// When a source or the section has a problem.
    #[track_caller]
    pub fn read<T>(&self, section: impl FnOnce(&Layers, &mut Problems) -> Option<T>) -> Result<T, SettingsError> {
        let layers = self.layers();
        let mut problems = layers.problems();
        let read = section(&layers, &mut problems);
        problems.into_result().map(|()| read.expect("nothing was read, and no problem was reported"))
    }

    /// What `section` reads in spite of problems, and the problems as `key: text`.
    #[track_caller]
    pub fn read_all<T>(&self, section: impl FnOnce(&Layers, &mut Problems) -> Option<T>) -> (Option<T>, Vec<String>) {
        let layers = self.layers();
        let mut problems = layers.problems();
        let read = section(&layers, &mut problems);
        (read, problems.iter().map(|problem| format!("{}: {}", problem.key, problem.text)).collect())
    }

    /// The settings that all services share.
    #[track_caller]
    pub fn common(&self) -> CommonSettings {
        self.read(CommonSettings::read).unwrap()
    }

    /// The settings of the edges.
    #[track_caller]
    pub fn bus(&self) -> BusSettings {
        self.read(BusSettings::read).unwrap()
    }

    /// A process with the common settings, without an endpoint, signals or export.
    #[track_caller]
    pub fn host(&self) -> Host {
        Host::detached(self.common())
    }
}

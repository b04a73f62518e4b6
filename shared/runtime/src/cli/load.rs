//! Reads all settings before anything starts.

use crate::settings::{COMMON_DEFAULTS, CommonSettings, DefaultSettings, Layers, Problems, SettingsError};

use super::SettingsArgs;

/// Settings that passed every check.
#[derive(Debug, Clone)]
pub struct LoadedSettings<S> {
    /// The settings that all services share.
    pub shared: CommonSettings,
    /// The binary's own settings.
    pub settings: S,
    /// The layers that both were read from, for origins and `config show`.
    pub layers: Layers,
}

/// Reads all layers; `read` turns them into the binary's own settings. The shared defaults are always added.
///
/// # Errors
/// All problems at once: those of the sources, of the shared sections, and those that `read` found.
pub fn load_settings<S>(
    defaults: &[DefaultSettings],
    args: &SettingsArgs,
    read: impl FnOnce(&Layers, &mut Problems) -> Option<S>,
) -> Result<LoadedSettings<S>, SettingsError> {
    let mut all = vec![COMMON_DEFAULTS];
    all.extend(defaults.iter().filter(|defaults| defaults.name != COMMON_DEFAULTS.name));
    let layers = Layers::load(&all, args)?;
    let mut problems = layers.problems();
    let shared = CommonSettings::read(&layers, &mut problems);
    let settings = read(&layers, &mut problems);
    if settings.is_none() && problems.is_empty() {
        problems.add("settings", "were rejected without a reason, which is a bug in the service");
    }
    problems.into_result()?;
    match (shared, settings) {
        (Some(shared), Some(settings)) => Ok(LoadedSettings { shared, settings, layers }),
        // A missing part always left a problem behind, so the line above has returned.
        _ => Err(SettingsError { problems: Vec::new() }),
    }
}

//! The model registry that the settings name.

use forebay_model::{Credentials, RegistryOptions, TlsOptions};
use forebay_runtime::ModelSettings;

/// How the registry of `models` is opened.
pub(crate) fn registry_options(models: &ModelSettings) -> RegistryOptions {
    let path = |text: &str| (!text.is_empty()).then(|| text.into());
    RegistryOptions {
        models: models.served(),
        timeout: models.timeout,
        cache_dir: models.cache_folder(),
        cache_size: models.cache_size,
        credentials: Credentials::of(&models.username, models.password.expose(), models.token.expose()),
        tls: TlsOptions {
            server_cert: path(&models.server_cert),
            client_cert: path(&models.client_cert),
            insecure: models.insecure_tls,
        },
        ..RegistryOptions::new(models.registry.clone())
    }
}

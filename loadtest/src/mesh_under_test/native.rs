//! `compose/native.sh`: Kafka, Redis, RabbitMQ and MLflow on this machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::LoadtestError;

/// One instance of the services that the script starts: its folder and ports are in the environment.
#[derive(Debug, Clone)]
pub struct NativeServices {
    script: PathBuf,
    environment: Vec<(String, String)>,
}

impl NativeServices {
    /// The instance that `environment`, on top of this process's own, describes.
    #[must_use]
    pub fn new(script: PathBuf, environment: Vec<(String, String)>) -> Self {
        Self { script, environment }
    }

    /// Runs the script with these arguments; what it prints.
    pub fn run(&self, arguments: &[&str]) -> Result<String, LoadtestError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // a file and not a pipe: what it starts inherits nothing it could keep open, and there is nothing to read forever
        let log = std::env::temp_dir().join(format!("forebay-native-{}-{number}.log", std::process::id()));
        let file = std::fs::File::create(&log).map_err(LoadtestError::file(&log))?;
        let mut command = Command::new("timeout");
        command.arg("200").arg(&self.script).args(arguments).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(file.try_clone().map_err(LoadtestError::file(&log))?).stderr(file);
        let status = command.status().map_err(LoadtestError::system("run native.sh"))?;
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        if status.success() {
            Ok(text)
        } else {
            Err(LoadtestError::Input(format!("native.sh {arguments:?}: {status}: {text}")))
        }
    }
}

//! What a run needs around the mesh: Kafka, Redis and RabbitMQ of its own, the binaries, and a folder for everything.

use std::path::{Path, PathBuf};

use crate::error::LoadtestError;
use crate::mesh_under_test::{MeshUnderTest, NativeServices, free_address};

/// Services of this run; they are stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct FaultEnvironment {
    pub(crate) services: NativeServices,
    pub(crate) brokers: String,
    pub(crate) redis: String,
    pub(crate) rabbit_url: String,
    binaries: PathBuf,
    folder: PathBuf,
    keep: bool,
}

impl FaultEnvironment {
    /// Starts the services. `keep` is a folder for all logs; without one they go with the run.
    pub(crate) fn start(script: &Path, binaries: PathBuf, keep: Option<&Path>) -> Result<Self, LoadtestError> {
        let temporary = || std::env::temp_dir().join(format!("forebay-faults-{}", std::process::id()));
        let folder = keep.map_or_else(temporary, Path::to_path_buf);
        std::fs::create_dir_all(folder.join("logs")).map_err(LoadtestError::file(&folder))?;
        let folder = std::path::absolute(&folder).map_err(LoadtestError::file(&folder))?;
        // Kafka takes one port more, RabbitMQ three
        let first = free_ports(8)?;
        let ports = [first, first + 2, first + 4];
        let native = folder.join("native");
        let environment = [
            ("FOREBAY_NATIVE_DIR", native.display().to_string()),
            ("KAFKA_PORT", ports[0].to_string()),
            ("KAFKA_CONTROLLER_PORT", (ports[0] + 1).to_string()),
            ("REDIS_PORT", ports[1].to_string()),
            ("RABBITMQ_PORT", ports[2].to_string()),
            ("KAFKA_HEAP", "-Xms256m -Xmx768m".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let environment = Self {
            services: NativeServices::new(script.to_path_buf(), environment),
            brokers: format!("127.0.0.1:{}", ports[0]),
            redis: format!("redis://127.0.0.1:{}", ports[1]),
            rabbit_url: format!("amqp://guest:guest@127.0.0.1:{}/%2f", ports[2]),
            binaries,
            folder,
            keep: keep.is_some(),
        };
        environment.services.run(&["up", "kafka", "redis", "rabbitmq"])?;
        Ok(environment)
    }

    /// A mesh with fresh topics, and its queue in RabbitMQ under the same name.
    pub(crate) fn mesh(&self, name: &str) -> MeshUnderTest {
        let logs = self.folder.join("logs");
        let mut mesh = MeshUnderTest::new(name, &self.brokers, self.binaries.clone(), logs);
        mesh.set("FOREBAY__REDIS__URL", &self.redis);
        mesh.set("FOREBAY__REDIS__PREFIX", format!("{}:", mesh.topic("redis")));
        mesh.set("FOREBAY__RABBITMQ__URL", &self.rabbit_url);
        mesh.set("FOREBAY__RABBITMQ__QUEUE", mesh.topic("queue"));
        mesh.set("FOREBAY__RABBITMQ__DEAD_LETTER_EXCHANGE", mesh.topic("queue.dead"));
        mesh
    }

    /// Ends what a fault may have left paused or dead.
    pub(crate) fn heal(&self) -> Result<(), LoadtestError> {
        for service in ["kafka", "redis", "rabbitmq"] {
            let _ = self.services.run(&["resume", service]);
        }
        self.services.run(&["up", "kafka", "redis", "rabbitmq"]).map(|_| ())
    }
}

impl Drop for FaultEnvironment {
    fn drop(&mut self) {
        for service in ["kafka", "redis", "rabbitmq"] {
            let _ = self.services.run(&["resume", service]);
        }
        if let Err(error) = self.services.run(&["down", "kafka", "redis", "rabbitmq"]) {
            eprintln!("{error}");
        }
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A port that is free together with the ones behind it, `count` in all.
fn free_ports(count: u16) -> Result<u16, LoadtestError> {
    for _ in 0..1000 {
        let Some(address) = free_address() else { break };
        let first = address.port();
        if (first..first + count).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    Err(LoadtestError::Input("no free ports from 10000 to 19999".into()))
}

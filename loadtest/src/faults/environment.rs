//! What a run needs around the mesh: Kafka, Redis and RabbitMQ of its own, the binaries, and a folder for everything.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::broker_cluster::{BROKERS, BrokerCluster};
use super::broker_proxy::BrokerProxy;
use super::small_disk::SmallDisk;
use crate::error::LoadtestError;
use crate::mesh_under_test::{MeshUnderTest, NativeServices, free_address};

/// The folder of the mesh's binaries: the one that was named, else that of this program.
pub(crate) fn binaries_folder(named: Option<&Path>) -> Result<PathBuf, LoadtestError> {
    match named {
        Some(folder) => std::path::absolute(folder).map_err(LoadtestError::file(folder)),
        None => {
            let program = std::env::current_exe().map_err(LoadtestError::system("find this program"))?;
            Ok(program.parent().map(PathBuf::from).unwrap_or_default())
        }
    }
}

/// What the broker of a row is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BrokerKind {
    /// A single one.
    Single,
    /// A single one with little room.
    SmallDisk,
    /// Three of them, each record on all.
    Cluster,
}

impl BrokerKind {
    /// What the folder of its data and logs is called beside that of others.
    fn name(self) -> &'static str {
        match self {
            Self::Single => "",
            Self::SmallDisk => "small",
            Self::Cluster => "cluster",
        }
    }
}

/// Services of this run; they are stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct FaultEnvironment {
    pub(crate) services: NativeServices,
    pub(crate) brokers: String,
    /// The same broker, for whoever shall come through it.
    pub(crate) proxy: BrokerProxy,
    pub(crate) redis: String,
    pub(crate) rabbit_url: String,
    /// The brokers, if there are several.
    pub(crate) cluster: Option<BrokerCluster>,
    /// What the broker writes to, if that is small.
    pub(crate) disk: Option<SmallDisk>,
    binaries: PathBuf,
    folder: PathBuf,
    keep: bool,
}

impl FaultEnvironment {
    /// Starts the services. `keep` is a folder for all logs; without one they go with the run.
    pub(crate) fn start(
        script: &Path,
        binaries: PathBuf,
        keep: Option<&Path>,
        kind: BrokerKind,
    ) -> Result<Self, LoadtestError> {
        // not in one another: each is removed with its own services
        let temporary = || std::env::temp_dir().join(format!("forebay-faults-{}{}", std::process::id(), kind.name()));
        let folder = keep.map_or_else(temporary, |keep| keep.join(kind.name()));
        std::fs::create_dir_all(folder.join("logs")).map_err(LoadtestError::file(&folder))?;
        let folder = std::path::absolute(&folder).map_err(LoadtestError::file(&folder))?;
        let native = folder.join("native");
        let small_disk = kind == BrokerKind::SmallDisk;
        let disk = small_disk.then(|| SmallDisk::mount(native.join("kafka/data"))).transpose()?;
        // Kafka takes one port more, RabbitMQ three
        let first = free_ports(10 + BrokerCluster::PORTS)?;
        let (kafka, redis, rabbitmq, proxied, proxy) = (first, first + 2, first + 4, first + 8, first + 9);
        let proxy = BrokerProxy::start(local(proxy), local(proxied))?;
        let environment = [
            ("FOREBAY_NATIVE_DIR", native.display().to_string()),
            ("KAFKA_PORT", kafka.to_string()),
            ("KAFKA_CONTROLLER_PORT", (kafka + 1).to_string()),
            ("REDIS_PORT", redis.to_string()),
            ("RABBITMQ_PORT", rabbitmq.to_string()),
            ("KAFKA_HEAP", "-Xms256m -Xmx768m".to_owned()),
            ("KAFKA_EXTRA", listeners(kafka, proxied, &proxy.address())),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let cluster = (kind == BrokerKind::Cluster).then(|| BrokerCluster::new(script, &folder, first + 10));
        let environment = Self {
            services: NativeServices::new(script.to_path_buf(), environment),
            brokers: cluster.as_ref().map_or_else(|| local(kafka).to_string(), |it| it.addresses().to_owned()),
            cluster,
            proxy,
            redis: format!("redis://127.0.0.1:{redis}"),
            rabbit_url: format!("amqp://guest:guest@127.0.0.1:{rabbitmq}/%2f"),
            disk,
            binaries,
            folder,
            keep: keep.is_some(),
        };
        environment.up()?;
        Ok(environment)
    }

    /// Starts what does not run.
    fn up(&self) -> Result<(), LoadtestError> {
        match &self.cluster {
            None => self.services.run(&["up", "kafka", "redis", "rabbitmq"]).map(|_| ()),
            Some(cluster) => {
                self.services.run(&["up", "redis", "rabbitmq"])?;
                cluster.run(&["up", "kafka"])
            }
        }
    }

    /// A mesh with fresh topics, and its queue in RabbitMQ under the same name. `proxied`: it reaches its broker through
    /// the proxy.
    pub(crate) fn mesh(&self, name: &str, proxied: bool) -> MeshUnderTest {
        let logs = self.folder.join("logs");
        let mut mesh = MeshUnderTest::new(name, &self.brokers, self.binaries.clone(), logs);
        if self.cluster.is_some() {
            mesh.set("FOREBAY__KAFKA__REPLICATION", BROKERS.to_string());
        }
        if proxied {
            mesh.set("FOREBAY__KAFKA__BROKERS", self.proxy.address());
        }
        mesh.set("FOREBAY__REDIS__URL", &self.redis);
        mesh.set("FOREBAY__REDIS__PREFIX", format!("{}:", mesh.topic("redis")));
        mesh.set("FOREBAY__RABBITMQ__URL", &self.rabbit_url);
        mesh.set("FOREBAY__RABBITMQ__QUEUE", mesh.topic("queue"));
        mesh.set("FOREBAY__RABBITMQ__DEAD_LETTER_EXCHANGE", mesh.topic("queue.dead"));
        mesh
    }

    /// Where the broker keeps its topics, in folders by topic and partition.
    pub(crate) fn broker_data(&self) -> PathBuf {
        self.folder.join("native/kafka/data")
    }

    /// What the broker has logged since its last start.
    pub(crate) fn broker_log(&self) -> String {
        let log = std::fs::read(self.folder.join("native/kafka/log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// A folder of this run for files of a row.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Ends what a fault may have left paused or dead.
    pub(crate) fn heal(&self) -> Result<(), LoadtestError> {
        self.proxy.set(super::broker_proxy::rules::ProxyRules::default());
        self.resume();
        if let Some(disk) = &self.disk {
            disk.make_room();
        }
        self.up()
    }

    /// Wakes what was paused.
    fn resume(&self) {
        for service in ["kafka", "redis", "rabbitmq"] {
            let _ = self.services.run(&["resume", service]);
        }
        if let Some(cluster) = &self.cluster {
            let _ = cluster.run(&["resume", "kafka"]);
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One more listener, which is advertised as the proxy.
fn listeners(port: u16, proxied: u16, proxy: &str) -> String {
    let controller = port + 1;
    format!(
        "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},PROXIED://127.0.0.1:{proxied}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://{proxy}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT"
    )
}

impl Drop for FaultEnvironment {
    fn drop(&mut self) {
        self.resume();
        let down = self.services.run(&["down", "kafka", "redis", "rabbitmq"]).map(|_| ());
        let cluster = self.cluster.as_ref().map_or(Ok(()), |cluster| cluster.run(&["down", "kafka"]));
        for error in [down, cluster].into_iter().filter_map(Result::err) {
            eprintln!("{error}");
        }
        self.disk = None;
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

//! The forms of the mesh that are attacked: `forebay up` with keys and a registry of its own, the same with TLS, and the five
//! services over real Kafka, Redis and RabbitMQ.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::attacked_process::{AttackedProcess, LimitedLaunch};
use super::local_server::{LocalServer, ServerAnswer};
use super::normal_http::{NormalCaller, tls_client};
use crate::error::LoadtestError;
use crate::faults::environment::FaultEnvironment;
use crate::faults::load::LoadTargets;
use crate::mesh_under_test::{MeshUnderTest, SAMPLE_MODEL, copy_sample_registry, free_address};

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MeshForm {
    /// `forebay up` on memory edges, with keys and tokens.
    Up,
    /// The same behind TLS.
    UpTls,
    /// One replica of each service.
    Services,
}

impl MeshForm {
    pub(crate) const ALL: [Self; 3] = [Self::Up, Self::UpTls, Self::Services];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::UpTls => "up with TLS",
            Self::Services => "five services",
        }
    }
}

/// What the manifests give each service, in MiB, and `up`, which has all of them in one process.
const LIMITS: [(&str, u64); 6] = [
    ("forebay-ingestion", 512),
    ("forebay-preprocessing", 384),
    ("forebay-caching", 768),
    ("forebay-prediction", 1024),
    ("forebay-publishing", 512),
    ("forebay", 1024),
];
const READY: Duration = Duration::from_secs(60);
/// A key set of an issuer: a public key of RFC 8037.
pub(crate) const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","use":"sig","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// What spans of requests hold: their name.
const SPAN: &[u8] = b"POST /v1/predict";

/// A running mesh.
#[derive(Debug)]
pub(crate) struct AttackedMesh {
    pub(crate) processes: Vec<AttackedProcess>,
    pub(crate) mesh: MeshUnderTest,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    /// The registry's folder of the model that answers.
    pub(crate) model: PathBuf,
    pub(crate) issuer: LocalServer,
    pub(crate) collector: LocalServer,
    /// Keys of the normal caller and of the attacker.
    keys: [String; 2],
    tls: Option<Arc<ClientConfig>>,
}

impl AttackedMesh {
    /// Starts `forebay up`; everything it needs is in `folder`.
    pub(crate) fn start_up(binaries: &Path, folder: &Path, with_tls: bool) -> Result<Self, LoadtestError> {
        let mut mesh = MeshUnderTest::new("attacked", "", binaries.to_path_buf(), folder.join("logs"));
        mesh.clear_settings();
        let folder = folder.join(mesh.topic("up"));
        let (secrets, registry) = (folder.join("secrets"), folder.join("registry"));
        copy_sample_registry(&registry)?;
        let keys = make_keys(&mesh, &secrets)?;
        let issuer = LocalServer::start(ServerAnswer::Body(KEY_SET.into()), b"")?;
        let collector = LocalServer::start(ServerAnswer::Body(Vec::new()), SPAN)?;
        let grpc = free_address().ok_or_else(|| LoadtestError::Input("no free port".into()))?;
        let settings = [
            ("FOREBAY__LOG__FORMAT", "json".to_owned()),
            ("FOREBAY__MODELS__NAME", SAMPLE_MODEL.to_owned()),
            ("FOREBAY__MODELS__REGISTRY", format!("file:{}", registry.display())),
            ("FOREBAY__MODELS__REFRESH", "1s".to_owned()),
            ("FOREBAY__GRPC__LISTEN", grpc.to_string()),
            ("FOREBAY__AUTH__KEYS_FILE", secrets.join("keys").display().to_string()),
            ("FOREBAY__AUTH__JWT__JWKS", format!("http://{}/keys", issuer.address)),
            ("FOREBAY__AUTH__JWT__ISSUER", "issuer".to_owned()),
            ("FOREBAY__AUTH__JWT__AUDIENCE", "forebay".to_owned()),
            ("FOREBAY__AUTH__JWT__REFRESH", "1s".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address)),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01".to_owned()),
        ];
        settings.into_iter().for_each(|(name, value)| mesh.set(name, value));
        if with_tls {
            mesh.set("FOREBAY__HTTP__TLS__CERT_FILE", secrets.join("tls.crt").display().to_string());
            mesh.set("FOREBAY__HTTP__TLS__KEY_FILE", secrets.join("tls.key").display().to_string());
        }
        let tls = with_tls.then(|| tls_client(&secrets.join("ca.crt"))).transpose()?;
        let launch = LimitedLaunch { binary: "forebay", arguments: &["up"], limit: limit_of("forebay") };
        let mut process = AttackedProcess::start(&mesh, launch, &folder.join("launchers"))?;
        process.wait_ready(READY)?;
        let http = process.process().http;
        let model = registry.join(SAMPLE_MODEL);
        Ok(Self { processes: vec![process], mesh, http, grpc, model, issuer, collector, keys, tls })
    }

    /// Starts one replica of each service over the environment's brokers.
    pub(crate) fn start_services(environment: &FaultEnvironment) -> Result<Self, LoadtestError> {
        let mut mesh = environment.mesh("attacked", false);
        mesh.set("FOREBAY__KAFKA__SESSION_TIMEOUT", "6s");
        let folder = environment.folder(&mesh.topic("services"));
        let registry = folder.join("registry");
        copy_sample_registry(&registry)?;
        mesh.set("FOREBAY__MODELS__NAME", SAMPLE_MODEL);
        mesh.set("FOREBAY__MODELS__REGISTRY", format!("file:{}", registry.display()));
        mesh.set("FOREBAY__MODELS__REFRESH", "1s");
        let grpc = free_address().ok_or_else(|| LoadtestError::Input("no free port".into()))?;
        mesh.set("FOREBAY__GRPC__LISTEN", grpc.to_string());
        mesh.create_topics()?;
        let launchers = folder.join("launchers");
        let start = |(binary, limit): &(&str, u64)| {
            let launch = LimitedLaunch { binary, arguments: &[], limit: limit << 20 };
            AttackedProcess::start(&mesh, launch, &launchers)
        };
        let mut processes = LIMITS[..5].iter().map(start).collect::<Result<Vec<_>, _>>()?;
        processes.iter_mut().try_for_each(|process| process.wait_ready(READY))?;
        let http = processes[0].process().http;
        let issuer = LocalServer::start(ServerAnswer::Silence, b"")?;
        let collector = LocalServer::start(ServerAnswer::Silence, b"")?;
        let (model, keys, tls) = (registry.join(SAMPLE_MODEL), Default::default(), None);
        Ok(Self { processes, mesh, http, grpc, model, issuer, collector, keys, tls })
    }

    /// The caller whose requests must be answered.
    pub(crate) fn normal_caller(&self) -> NormalCaller {
        NormalCaller { address: self.http, key: self.keys[0].clone(), tls: self.tls.clone() }
    }

    /// The key of an attacker who has one.
    pub(crate) fn attackers_key(&self) -> &str {
        &self.keys[1]
    }

    /// Where the load over all entrances goes.
    pub(crate) fn targets(&self, environment: &FaultEnvironment) -> LoadTargets {
        LoadTargets {
            brokers: environment.brokers.clone(),
            requests_in: self.mesh.topic("requests_in"),
            results_out: self.mesh.topic("results_out"),
            http: vec![self.http],
            rabbit_url: environment.rabbit_url.clone(),
            rabbit_queue: self.mesh.topic("queue"),
        }
    }

    /// Waits until what the last attack sent has been worked off: a request is answered quickly, and again. At most half a
    /// minute: the next attack shows what is wrong then.
    pub(crate) fn wait_until_calm(&self) {
        let (deadline, mut calm) = (Instant::now() + Duration::from_secs(30), 0);
        while calm < 3 && Instant::now() < deadline {
            let began = Instant::now();
            let quick = self.normal_caller().is_answered() && began.elapsed() < Duration::from_millis(200);
            calm = if quick { calm + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Whether every process still runs; what ended, and how.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        self.processes.iter_mut().filter_map(AttackedProcess::end).collect()
    }
}

fn limit_of(binary: &str) -> u64 {
    LIMITS.iter().find(|(name, _)| *name == binary).map_or(0, |(_, mib)| mib << 20)
}

/// `forebay keys init`, and a second key: the keys themselves.
fn make_keys(mesh: &MeshUnderTest, folder: &Path) -> Result<[String; 2], LoadtestError> {
    let shown = folder.display().to_string();
    let run = |arguments: &[&str]| {
        let output = mesh.run("forebay", arguments, &[])?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            // standard output may hold a key
            false => Err(LoadtestError::Input(format!("{}", String::from_utf8_lossy(&output.stderr)))),
        }
    };
    run(&["keys", "init", &shown, "--name", "normal"])?;
    let path = folder.join("api-key");
    let normal = std::fs::read_to_string(&path).map_err(LoadtestError::file(&path))?.trim().to_owned();
    let attacker = run(&["keys", "new", "attacker", "--append", &folder.join("keys").display().to_string()])?;
    Ok([normal, attacker])
}

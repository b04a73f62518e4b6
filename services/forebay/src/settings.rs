//! The settings of all five services, read once.

use forebay_bus::{BusSettings, Stages};
use forebay_contract::Stage;
use forebay_registry::ModelSettings;
use forebay_runtime::{
    DefaultSettings, Layers, LoadedSettings, Problems, SettingsArgs, SettingsError, UsesMemory, load_settings,
};

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

const BUNDLES: [DefaultSettings; 7] = [
    forebay_bus::DEFAULTS,
    forebay_redis::DEFAULTS,
    forebay_ingestion::DEFAULTS,
    forebay_preprocessing::DEFAULTS,
    forebay_caching::DEFAULTS,
    forebay_prediction::DEFAULTS,
    forebay_publishing::DEFAULTS,
];

/// Whether a process of `stages` talks to Kafka. Brokers that are set explicitly are meant to be used; the built-in default is
/// not.
pub(crate) fn uses_kafka(layers: &Layers, stages: &Stages, wanted: bool) -> bool {
    wanted || layers.is_set("kafka.brokers") || !stages.is_whole()
}

impl Settings {
    /// The section `[models]`, which several services read.
    pub(crate) fn models(&self) -> &ModelSettings {
        &self.prediction.models
    }

    /// Reads every layer and reports all problems at once.
    pub(crate) fn open(args: &SettingsArgs) -> Result<LoadedSettings<Self>, SettingsError> {
        load_settings(&BUNDLES, args, Self::read)
    }

    /// As [`Settings::open`], for a process in which `stages` run, with Kafka if `kafka` or if a setting names the brokers.
    pub(crate) fn open_to_serve(
        args: &SettingsArgs,
        stages: &Stages,
        kafka: bool,
    ) -> Result<LoadedSettings<Self>, SettingsError> {
        load_settings(&BUNDLES, args, |layers, problems| {
            let mut settings = Self::read(layers, problems)?;
            if stages.has(Stage::Ingestion) {
                settings.ingestion.check_callers(problems);
            }
            settings.divide_memory(stages, kafka, layers, problems);
            Some(settings)
        })
    }

    fn divide_memory(&mut self, stages: &Stages, kafka: bool, layers: &Layers, problems: &mut Problems) {
        let Self { bus, ingestion, preprocessing, caching, prediction, publishing } = self;
        let all: [(Stage, &mut dyn UsesMemory); 5] = [
            (Stage::Ingestion, ingestion),
            (Stage::Preprocessing, preprocessing),
            (Stage::Caching, caching),
            (Stage::Prediction, prediction),
            (Stage::Publishing, publishing),
        ];
        let mut users: Vec<_> = all.into_iter().filter(|(stage, _)| stages.has(*stage)).map(|(_, user)| user).collect();
        bus.divide_memory(stages, uses_kafka(layers, stages, kafka), &mut users, layers, problems);
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
    use forebay_bus::stage_name;
    use forebay_testkit::settings;

    use super::*;

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

    const STAGES: [Stage; 5] =
        [Stage::Ingestion, Stage::Preprocessing, Stage::Caching, Stage::Prediction, Stage::Publishing];

    /// The memory limit of a service in its Kubernetes manifest, in bytes.
    fn pod_limit(service: &str) -> u64 {
        let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../k8s/base");
        let manifest = std::fs::read_to_string(format!("{manifests}/{service}/deployment.yaml")).unwrap();
        let limit = manifest.split_once("limits:").unwrap().1.split_once("memory: ").unwrap().1.lines().next().unwrap();
        let (number, unit) = limit.split_at(limit.len() - 2);
        number.parse::<u64>().unwrap() << if unit == "Gi" { 30 } else { 20 }
    }

    fn divided(stages: &Stages, kafka: bool, flags: &[&str]) -> Result<Settings, String> {
        let sources = settings(&BUNDLES).flags(flags);
        let read = sources.read(|layers, problems| {
            let mut settings = Settings::read(layers, problems)?;
            settings.divide_memory(stages, kafka, layers, problems);
            Some(settings)
        });
        read.map_err(|error| error.to_string())
    }

    fn sum(settings: &Settings) -> u64 {
        settings.bus.memory.parts().map(|(_, bytes)| bytes).sum()
    }

    #[test]
    fn every_service_fits_into_its_pod() {
        for stage in STAGES {
            let service = stage_name(stage);
            let limit = pod_limit(service) / 5 * 4;
            let flags = [&*format!("memory.limit={limit}B"), "rabbitmq.url=amqp://u:p@rabbit"];
            let settings = divided(&Stages::one(stage), true, &flags).unwrap();
            assert!(
                sum(&settings) <= limit && sum(&settings) > limit / 3,
                "{service}: {}",
                settings.bus.memory.table()
            );
        }
    }

    #[test]
    fn clients_of_kafka_hold_what_the_process_has_room_for() {
        let queues = |limit| {
            let flags = [&*format!("memory.limit={limit}")];
            divided(&Stages::one(Stage::Preprocessing), true, &flags).unwrap().bus.kafka.queues
        };
        assert_eq!(queues("64GiB"), Default::default(), "with enough memory nothing is less than it is set to");
        assert!(queues("300MiB").producer_kbytes < queues("64GiB").producer_kbytes / 2);
    }

    #[test]
    fn the_whole_mesh_fits_into_little_memory_and_takes_what_is_there() {
        for (limit, kafka) in [("220MiB", false), ("320MiB", true), ("410MiB", true), ("2GiB", true)] {
            let flag = format!("memory.limit={limit}");
            let settings = divided(&Stages::all(), kafka, &[&flag]).unwrap();
            assert!(sum(&settings) <= settings.bus.memory.limit(), "{limit}: {}", settings.bus.memory.table());
        }
        let settings = divided(&Stages::all(), false, &["memory.limit=64GiB"]).unwrap();
        let defaults = divided(&Stages::all(), false, &["memory.limit=400MiB"]).unwrap();
        assert_eq!((settings.caching.cache.capacity, settings.ingestion.http.body_memory), (64 << 20, 128 << 20));
        assert!(defaults.publishing.results.window_capacity < settings.publishing.results.window_capacity);
        assert!(defaults.ingestion.http.max_connections < settings.ingestion.http.max_connections);
    }

    #[test]
    fn what_is_set_is_kept_and_too_much_of_it_is_an_error_with_its_name() {
        let flags = ["memory.limit=400MiB", "cache.capacity=100MiB", "http.max_connections=500"];
        let set = divided(&Stages::all(), false, &flags).unwrap();
        assert_eq!((set.caching.cache.capacity, set.ingestion.http.max_connections), (100 << 20, 500));
        let error = divided(&Stages::all(), false, &["memory.limit=400MiB", "cache.capacity=1GiB"]).unwrap_err();
        assert!(error.contains("memory.limit") && error.contains("cache 1.0 GiB (cache.capacity)"), "{error}");
        // a service without a cache has no use for its setting
        let (flags, one) = (["memory.limit=300MiB", "cache.capacity=1GiB"], Stages::one(Stage::Preprocessing));
        divided(&one, true, &flags).unwrap();
        let error = divided(&one, true, &["memory.limit=300MiB", "kafka.options.queue.buffering.max.kbytes=524288"]);
        assert!(error.unwrap_err().contains("kafka_producers 512.0 MiB (kafka.options)"));
    }
}

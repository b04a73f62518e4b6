//! Three brokers, each of them a controller as well.

use std::path::Path;

use crate::error::LoadtestError;
use crate::mesh_under_test::NativeServices;

pub(crate) const BROKERS: u16 = 3;

/// A cluster of brokers on this machine.
#[derive(Debug)]
pub(crate) struct BrokerCluster {
    brokers: Vec<NativeServices>,
    addresses: String,
}

impl BrokerCluster {
    /// The ports that it takes.
    pub(crate) const PORTS: u16 = 2 * BROKERS;

    /// The cluster whose data is in `folder`, on ports from `first`.
    pub(crate) fn new(script: &Path, folder: &Path, first: u16) -> Self {
        let ports = |number: u16| (first + 2 * number, first + 2 * number + 1);
        let local = |port: u16| format!("127.0.0.1:{port}");
        let voters: Vec<String> = (0..BROKERS).map(|it| format!("{}@{}", it + 1, local(ports(it).1))).collect();
        let brokers = (0..BROKERS).map(|number| {
            let (port, controller) = ports(number);
            let environment = [
                ("FOREBAY_NATIVE_DIR", folder.join(format!("broker-{}", number + 1)).display().to_string()),
                ("KAFKA_PORT", port.to_string()),
                ("KAFKA_CONTROLLER_PORT", controller.to_string()),
                ("KAFKA_HEAP", "-Xms192m -Xmx512m".to_owned()),
                ("KAFKA_CLUSTER_ID", "Zm9yZWJheS1mYXVsdHMtMw".to_owned()),
                ("KAFKA_EXTRA", properties(number + 1, &voters.join(","))),
            ];
            let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
            NativeServices::new(script.to_path_buf(), environment)
        });
        let brokers = brokers.collect();
        let addresses: Vec<String> = (0..BROKERS).map(|number| local(ports(number).0)).collect();
        Self { brokers, addresses: addresses.join(",") }
    }

    /// Where clients find it.
    pub(crate) fn addresses(&self) -> &str {
        &self.addresses
    }

    /// The broker whose node id this is.
    pub(crate) fn broker(&self, id: u16) -> &NativeServices {
        &self.brokers[usize::from(id - 1)]
    }

    /// Runs the script for all brokers at once: none of them becomes ready alone.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<(), LoadtestError> {
        let ended: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> =
                self.brokers.iter().map(|broker| scope.spawn(|| broker.run(arguments).map(|_| ()))).collect();
            running.into_iter().map(|it| it.join()).collect()
        });
        let panicked = || LoadtestError::Input("a thread of the cluster panicked".into());
        ended.into_iter().try_for_each(|end| end.unwrap_or_else(|_| Err(panicked())))
    }
}

fn properties(id: u16, voters: &str) -> String {
    format!(
        "node.id={id}\n\
         controller.quorum.voters={voters}\n\
         default.replication.factor=3\n\
         min.insync.replicas=2\n\
         offsets.topic.replication.factor=3\n\
         transaction.state.log.replication.factor=3\n\
         transaction.state.log.min.isr=2\n\
         replica.lag.time.max.ms=10000\n\
         leader.imbalance.check.interval.seconds=5"
    )
}

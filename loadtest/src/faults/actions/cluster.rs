//! Faults of a cluster of three brokers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::LoadtestError;
use crate::faults::broker_cluster::{BROKERS, BrokerCluster};
use crate::faults::environment::FaultEnvironment;
use crate::faults::row_run::FaultRun;
use crate::faults::topic_admin::{PartitionState, TopicAdmin};
use crate::mesh_under_test::MeshUnderTest;

type Done = Result<(), LoadtestError>;

/// How long a broker is away: longer than the controllers wait for it.
const AWAY: f64 = 12.0;
/// The longest time until the brokers agree on something.
const AGREED: Duration = Duration::from_secs(90);

/// Each broker dies once, with the leaders and group coordinators that it has.
pub(crate) fn each_killed(run: &FaultRun<'_>) -> Done {
    for id in 1..=BROKERS {
        let broker = cluster(run)?.broker(id);
        broker.run(&["kill", "kafka"])?;
        run.sleep(AWAY);
        broker.run(&["up", "kafka"])?;
        wait_in_sync(run)?;
    }
    Ok(())
}

/// The brokers are restarted in order, as for an upgrade; the leaders go back to where they were.
pub(crate) fn each_restarted(run: &FaultRun<'_>) -> Done {
    for id in 1..=BROKERS {
        cluster(run)?.broker(id).run(&["restart", "kafka"])?;
        wait_in_sync(run)?;
    }
    run.sleep(AWAY);
    Ok(())
}

/// The clients' topic is on two brokers, and may be lost by one of them.
pub(crate) fn two_replicas_of_requests(environment: &FaultEnvironment, mesh: &mut MeshUnderTest) -> Done {
    let settings = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
    TopicAdmin::new(&environment.brokers)?.create_on(&mesh.topic("requests_in"), &[&[2, 3][..]; 4], &settings)
}

/// One of two replicas hangs; the other one takes requests alone, dies, and what it took since is gone: the one that hung
/// leads, and its log is shorter than what ingestion has read. Requests that come then have offsets for the second time.
pub(crate) fn unclean_election(run: &FaultRun<'_>) -> Done {
    let (cluster, topic, admin) = (cluster(run)?, run.mesh.topic("requests_in"), run.admin()?);
    let (alone, behind) = (cluster.broker(2), cluster.broker(3));
    behind.run(&["pause", "kafka"])?;
    wait_for(&admin, Some(&topic), "broker 2 to be alone", |it| it.in_sync == [2])?;
    run.sleep(5.0);
    run.load.hold(true);
    run.load.wait_answered(Duration::from_secs(30));
    let mut ends = HashMap::new();
    for partition in admin.partitions(Some(&topic))? {
        ends.insert(partition.id, admin.end(&topic, partition.id)?);
    }
    alone.run(&["kill", "kafka"])?;
    behind.run(&["resume", "kafka"])?;
    wait_for(&admin, Some(&topic), "broker 3 to lead", |it| it.leader == 3)?;
    let mut gone = 0;
    let mut first_gone = HashMap::new();
    for (partition, before) in ends {
        let end = admin.end(&topic, partition)?;
        gone += (before - end).max(0);
        first_gone.insert(partition, end);
    }
    run.note(format!("requests that the new leader does not have: {gone}"));
    if gone == 0 {
        run.complain("the new leader has everything");
    }
    run.load.kafka.removed(|(partition, offset)| first_gone.get(&partition).is_some_and(|first| offset >= *first));
    run.load.hold(false);
    run.sleep(AWAY);
    alone.run(&["up", "kafka"])?;
    wait_in_sync(run)
}

fn cluster<'r>(run: &FaultRun<'r>) -> Result<&'r BrokerCluster, LoadtestError> {
    run.environment.cluster.as_ref().ok_or_else(|| LoadtestError::Input("this run has a single broker".into()))
}

fn wait_in_sync(run: &FaultRun<'_>) -> Done {
    wait_for(&run.admin()?, None, "all replicas to be in sync", |it| it.leader >= 0 && it.in_sync.len() == it.replicas)
}

/// Waits until all partitions are as they should.
fn wait_for(admin: &TopicAdmin, topic: Option<&str>, what: &str, done: impl Fn(&PartitionState) -> bool) -> Done {
    let deadline = Instant::now() + AGREED;
    loop {
        let open = match admin.partitions(topic) {
            Ok(partitions) => partitions.iter().filter(|partition| !done(partition)).count(),
            // a leader may be away
            Err(_) => usize::MAX,
        };
        if open == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(LoadtestError::Input(format!("waited {AGREED:?} in vain for {what}: {open} partitions")));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

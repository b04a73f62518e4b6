//! Faults of topics: what operators and retention do to them.

use std::collections::HashMap;
use std::time::Duration;

use crate::error::LoadtestError;
use crate::faults::load::Acceptance;
use crate::faults::row_run::FaultRun;
use crate::mesh_under_test::TopicReader;

type Done = Result<(), LoadtestError>;

/// How many partitions `forebay topics create` gives a topic.
const PARTITIONS: i32 = 4;

/// Retention removes the older half of what waits while ingestion is away. The rest has to be answered.
pub(crate) fn retention_passed(run: &FaultRun<'_>) -> Done {
    run.replicas.stop(0)?;
    run.replicas.stop(1)?;
    let first = run.load.kafka.requests().len();
    run.sleep(6.0);
    let mut places: HashMap<i32, Vec<i64>> = HashMap::new();
    for request in run.load.kafka.requests().iter().skip(first) {
        if let Acceptance::Accepted(Some((partition, offset))) = request.acceptance {
            places.entry(partition).or_default().push(offset);
        }
    }
    let mut cuts = Vec::new();
    for (partition, mut offsets) in places {
        offsets.sort_unstable();
        cuts.push((partition, offsets[offsets.len() / 2]));
    }
    run.admin()?.delete_before(&run.mesh.topic("requests_in"), &cuts)?;
    run.load
        .kafka
        .removed(|(partition, offset)| cuts.iter().any(|(cut, before)| *cut == partition && offset < *before));
    run.replicas.restart(0)?;
    run.replicas.restart(1)?;
    run.replicas.wait_ready(Duration::from_secs(60))
}

/// The clients' topic gets twice as many partitions, and clients use them at once.
pub(crate) fn partitions_added(run: &FaultRun<'_>) -> Done {
    run.admin()?.grow(&run.mesh.topic("requests_in"), 2 * PARTITIONS as usize)?;
    run.sleep(10.0);
    Ok(())
}

/// Nothing is under way, the clients' topic is deleted and made again, and clients continue.
pub(crate) fn request_topic_made_again(run: &FaultRun<'_>) -> Done {
    let topic = run.mesh.topic("requests_in");
    run.load.hold(true);
    run.load.wait_answered(Duration::from_secs(30));
    let admin = run.admin()?;
    admin.delete(&[&topic])?;
    run.sleep(3.0);
    admin.create(&topic, PARTITIONS, &[])?;
    run.load.hold(false);
    run.sleep(10.0);
    Ok(())
}

/// The topic of results is deleted under load and made again a while later: what falls between has to appear in it.
pub(crate) fn result_topic_made_again(run: &FaultRun<'_>) -> Done {
    let topic = run.mesh.topic("results_out");
    run.load.hold(true);
    run.load.wait_answered(Duration::from_secs(30));
    let earlier = TopicReader::from_start(&run.environment.brokers, &topic)?.all(Duration::from_secs(30))?;
    *run.earlier_results.lock() = earlier;
    let admin = run.admin()?;
    admin.delete(&[&topic])?;
    run.load.hold(false);
    run.sleep(10.0);
    admin.create(&topic, PARTITIONS, &[])?;
    run.sleep(5.0);
    Ok(())
}

//! Faults of Kafka, Redis and RabbitMQ.

use std::time::{Duration, Instant};

use crate::error::LoadtestError;
use crate::faults::row_run::FaultRun;

type Done = Result<(), LoadtestError>;

pub(super) fn hang(run: &FaultRun<'_>, service: &str, seconds: f64) -> Done {
    run.environment.services.run(&["pause", service])?;
    run.sleep(seconds);
    run.environment.services.run(&["resume", service]).map(|_| ())
}

pub(super) fn kill(run: &FaultRun<'_>, service: &str, away: f64) -> Done {
    run.environment.services.run(&["kill", service])?;
    run.sleep(away);
    run.environment.services.run(&["up", service]).map(|_| ())
}

pub(crate) fn kafka_hangs_15(run: &FaultRun<'_>) -> Done {
    hang(run, "kafka", 15.0)
}

pub(crate) fn kafka_hangs_45(run: &FaultRun<'_>) -> Done {
    hang(run, "kafka", 45.0)
}

/// All clients must be back within 20 s of the resume.
fn kafka_hangs_again(run: &FaultRun<'_>, seconds: f64) -> Done {
    for cycle in 1..=5 {
        hang(run, "kafka", seconds)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut unready = run.replicas.unready();
        while !unready.is_empty() && Instant::now() < deadline {
            run.sleep(0.2);
            unready = run.replicas.unready();
        }
        if !unready.is_empty() {
            run.complain(format!("cycle {cycle}: not back 20 s after the resume: {}", unready.join("; ")));
        }
        run.sleep(5.0);
    }
    Ok(())
}

pub(crate) fn kafka_hangs_15_five_times(run: &FaultRun<'_>) -> Done {
    kafka_hangs_again(run, 15.0)
}

pub(crate) fn kafka_hangs_45_five_times(run: &FaultRun<'_>) -> Done {
    kafka_hangs_again(run, 45.0)
}

pub(crate) fn kafka_killed(run: &FaultRun<'_>) -> Done {
    kill(run, "kafka", 0.1)
}

pub(crate) fn kafka_killed_5(run: &FaultRun<'_>) -> Done {
    kill(run, "kafka", 5.0)
}

pub(crate) fn kafka_killed_60(run: &FaultRun<'_>) -> Done {
    kill(run, "kafka", 60.0)
}

pub(crate) fn redis_hangs(run: &FaultRun<'_>) -> Done {
    hang(run, "redis", 10.0)
}

pub(crate) fn redis_killed(run: &FaultRun<'_>) -> Done {
    kill(run, "redis", 5.0)
}

pub(crate) fn rabbit_connections_killed(run: &FaultRun<'_>) -> Done {
    for _ in 0..5 {
        run.environment.services.run(&["rabbitmqctl", "close_all_connections", "a fault"])?;
        run.sleep(2.0);
    }
    Ok(())
}

pub(crate) fn rabbit_killed(run: &FaultRun<'_>) -> Done {
    kill(run, "rabbitmq", 2.0)
}

pub(crate) fn rabbit_hangs(run: &FaultRun<'_>) -> Done {
    hang(run, "rabbitmq", 15.0)
}

/// The broker slows publishing down to a trickle, and then another replica of it joins.
pub(crate) fn throttled_while_a_replica_joins(run: &FaultRun<'_>) -> Done {
    let client = ["--entity-type", "clients", "--entity-name", "forebay-publishing"];
    let quota =
        |change: [&str; 2]| run.environment.services.run(&[&["configs", "--alter"], &change[..], &client].concat());
    quota(["--add-config", "producer_byte_rate=3000"])?;
    run.sleep(3.0);
    let joined = run.replicas.add(4)?;
    run.sleep(10.0);
    quota(["--delete-config", "producer_byte_rate"])?;
    run.sleep(5.0);
    run.replicas.stop(joined)
}

//! Messages over RabbitMQ.

use std::sync::atomic::{AtomicUsize, Ordering};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::attacks::attack_run::AttackRun;
use crate::error::LoadtestError;
use crate::mesh_under_test::RabbitClient;

type Sent = Result<String, LoadtestError>;

const MIB: usize = 1 << 20;

/// Publishes from several clients until the attack is over or `most` are published; how many the server took.
fn publish(
    run: &AttackRun<'_>,
    most: usize,
    message: impl Fn(usize) -> (Vec<u8>, BasicProperties) + Sync,
) -> Result<usize, LoadtestError> {
    let url = &run.environment()?.rabbit_url;
    let queue = run.mesh.mesh.topic("queue");
    let (next, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let Ok(mut client) = RabbitClient::connect(url) else { return run.answers.count("no connection") };
                while !run.is_over() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= run.some(most) {
                        return;
                    }
                    let (body, properties) = message(number);
                    match client.publish(&queue, &body, properties) {
                        Ok(()) => {
                            taken.fetch_add(1, Ordering::Relaxed);
                            run.answers.count("taken by the server");
                        }
                        Err(_) => {
                            run.answers.count("refused by the server");
                            // a refusal may end the channel
                            match RabbitClient::connect(url) {
                                Ok(fresh) => client = fresh,
                                Err(_) => return,
                            }
                        }
                    }
                }
            });
        }
    });
    run.wait_until_over();
    Ok(taken.into_inner())
}

/// Messages of 16 MiB and of 1 MiB, which are no requests.
pub(crate) fn large(run: &AttackRun<'_>) -> Sent {
    let largest = format!("{{\"request_id\":[{}0],\"features\":[1]}}", "0,".repeat(8 * MIB - 64)).into_bytes();
    let admitted = format!("{{\"request_id\":[{}0],\"features\":[1]}}", "0,".repeat(MIB / 2 - 64)).into_bytes();
    let wide = format!("{{\"request_id\":\"hostile\",\"features\":[{}0]}}", "0,".repeat(65_535)).into_bytes();
    let taken = publish(run, 200, |number| {
        let body = match number % 5 {
            0 => &largest,
            1 => &admitted,
            _ => &wide,
        };
        (body.clone(), BasicProperties::default())
    })?;
    Ok(format!("{taken} messages of up to 16 MiB"))
}

/// Properties and headers that are large, nested or no text; reply queues that are not there.
pub(crate) fn properties(run: &AttackRun<'_>) -> Sent {
    let body = br#"{"request_id":"hostile","features":[0,0,0,0,0,0,0,0,0,0],"priority":2147483647}"#.to_vec();
    let mut many = FieldTable::default();
    for number in 0..1000 {
        many.insert(format!("header-{number}").into(), AMQPValue::LongString("v".repeat(100).into()));
    }
    let mut nested = FieldTable::default();
    for _ in 0..100 {
        let mut outer = FieldTable::default();
        outer.insert("a".into(), AMQPValue::FieldTable(nested));
        nested = outer;
    }
    nested.insert("traceparent".into(), AMQPValue::LongLongInt(-1));
    let taken = publish(run, 2_000, |number| {
        let properties = BasicProperties::default().with_message_id(format!("hostile-{number}").into());
        let properties = match number % 4 {
            0 => properties.with_headers(many.clone()),
            1 => properties.with_headers(nested.clone()),
            2 => properties.with_reply_to("no-such-queue".into()).with_priority(255).with_expiration("-1".into()),
            _ => properties.with_content_encoding("gzip".into()).with_timestamp(u64::MAX),
        };
        (body.clone(), properties)
    })?;
    Ok(format!("{taken} messages with hostile properties"))
}

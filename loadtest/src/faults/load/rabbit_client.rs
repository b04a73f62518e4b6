//! Clients of RabbitMQ: one that publishes each request until the server has confirmed it, one that takes the replies.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::BasicAckOptions;
use lapin::types::FieldTable;

use super::{LoadControl, SeededSchedule, SentRequests, answer_of};
use crate::mesh_under_test::{RabbitClient, reply_properties};

const PAUSE: Duration = Duration::from_millis(100);

fn reply_queue(control: &LoadControl) -> String {
    replies_of(&control.targets.rabbit_queue)
}

fn replies_of(queue: &str) -> String {
    format!("{queue}.replies")
}

/// Publishes until the load ends; the message that is under way then is confirmed or given up after a minute.
pub(super) fn send(control: &Arc<LoadControl>, requests: &Arc<SentRequests>, schedule: SeededSchedule) {
    let (mut client, replies) = (None, reply_queue(control));
    // a reply to a queue that is not there would be lost
    while client.is_none() && !control.ended() {
        client = connect(control).filter(|it| it.declare(&replies, FieldTable::default()).is_ok());
    }
    control.paced(schedule, |random| {
        let (index, id, body) = requests.next(&control.origin, random);
        let mut ending = 600;
        // the same message again, under the same id, until it is confirmed: what a careful client does
        while ending > 0 {
            let Some(open) = client.take().or_else(|| connect(control)) else {
                std::thread::sleep(PAUSE);
                ending -= u32::from(control.ended());
                continue;
            };
            match open.publish(&control.targets.rabbit_queue, body.as_bytes(), reply_properties(&replies, &id)) {
                Ok(()) => {
                    requests.accepted(index, None);
                    client = Some(open);
                    return;
                }
                Err(why) => requests.refused(why),
            }
            ending -= u32::from(control.ended());
        }
    });
}

fn connect(control: &LoadControl) -> Option<RabbitClient> {
    RabbitClient::connect(&control.targets.rabbit_url).ok()
}

/// Takes replies until the load is closed; each is acknowledged after it was noted.
pub(super) fn collect(control: &Arc<LoadControl>, requests: &Arc<SentRequests>) {
    let replies = reply_queue(control);
    let mut client: Option<RabbitClient> = None;
    while !control.closed() {
        let fresh = || connect(control).filter(|it| it.declare(&replies, FieldTable::default()).is_ok());
        let Some(open) = client.take().or_else(fresh) else {
            std::thread::sleep(PAUSE);
            continue;
        };
        match take(&open, &replies, requests) {
            Ok(taken) => {
                if !taken {
                    std::thread::sleep(Duration::from_millis(5));
                }
                client = Some(open);
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Takes every reply that is there.
pub(crate) fn take_all_replies(client: &RabbitClient, queue: &str, requests: &SentRequests) -> Result<(), String> {
    let replies = replies_of(queue);
    client.declare(&replies, FieldTable::default())?;
    while take(client, &replies, requests)? {}
    Ok(())
}

/// Takes one reply, if there is one.
fn take(client: &RabbitClient, queue: &str, requests: &SentRequests) -> Result<bool, String> {
    let Some(message) = client.get(queue, true)? else { return Ok(false) };
    let text = |it: &Option<lapin::types::ShortString>| it.as_ref().map_or(String::new(), |it| it.as_str().to_owned());
    let (id, message_id) = (text(message.properties.correlation_id()), text(message.properties.message_id()));
    let answer = answer_of(&id, &message_id, message.data.clone());
    // taken before on a connection that broke, and so given to us again: the server's repeat, not the mesh's
    let again = message.redelivered
        && requests.answers().iter().any(|it| it.message_id == answer.message_id && it.body == answer.body);
    if !again {
        requests.answer(answer);
    }
    // an acknowledgement that is lost brings the message again, marked as redelivered
    let _ = client.run(message.ack(BasicAckOptions::default()));
    Ok(true)
}

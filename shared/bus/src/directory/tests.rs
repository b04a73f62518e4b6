//! Tests of the model directory as a whole.

use forebay_contract::ViewVersion;

use super::*;

fn view(stage: &str) -> ModelView {
    let version = ViewVersion { version: 1, stage: stage.into(), flavor: "sklearn".into(), digest: vec![7; 32].into() };
    ModelView { model: "m".into(), versions: vec![version], registry: "sample".into(), ..ModelView::default() }
}

fn has(version: u32, state: LoadState) -> Vec<VersionState> {
    vec![VersionState { version, state: state.into(), ..VersionState::default() }]
}

fn other(replica: &str, versions: Vec<VersionState>) -> ReplicaState {
    ReplicaState { replica: replica.into(), model: "m".into(), at_ms: 1, versions, ..ReplicaState::default() }
}

/// Receives once after any number of changes.
fn changes_of(directory: &ModelDirectory) -> std::sync::mpsc::Receiver<()> {
    let (change, changes) = std::sync::mpsc::sync_channel(1);
    directory.changes().on_notify(move || _ = change.try_send(()));
    changes
}

/// Whether every live replica can answer with a version; `None` when there is no live replica of the model.
fn everywhere(directory: &ModelDirectory, model: &str, version: u32) -> Option<bool> {
    let ready_count = directory.ready_count(model, version);
    (ready_count.live > 0).then(|| ready_count.all_ready())
}

#[test]
fn a_view_is_published_when_it_says_something_new_and_its_generation_grows() {
    let directory = ModelDirectory::new("me");
    let changes = changes_of(&directory);
    let first = directory.publish_view(view("Staging"));
    assert!(first > 1_700_000_000_000, "not below the clock: {first}");
    assert!(changes.try_recv().is_ok());
    assert_eq!(directory.publish_view(view("Staging")), first);
    assert!(changes.try_recv().is_err(), "nothing new");
    let second = directory.publish_view(view("Production"));
    assert!(second > first);
    assert_eq!(directory.view("m").unwrap().versions[0].stage, "Production");

    let theirs = ModelView { generation: u64::MAX - 5, ..view("Archived") };
    directory.on_view(theirs);
    assert_eq!(directory.publish_view(view("Staging")), u64::MAX - 4, "above a clock that runs ahead");
}

#[test]
fn all_directories_choose_the_same_view_whatever_the_order() {
    let views = [
        ModelView { generation: 5, ..view("a") },
        ModelView { generation: 5, ..view("b") },
        ModelView { generation: 4, ..view("z") },
    ];
    let mut chosen = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let directory = ModelDirectory::new("me");
        order.iter().for_each(|at| directory.on_view(views[*at].clone()));
        chosen.push(directory.view("m").unwrap().versions[0].stage.clone());
    }
    chosen.dedup();
    assert_eq!(chosen, ["b"]);
}

#[test]
fn an_older_view_that_comes_after_ours_is_written_over() {
    let directory = ModelDirectory::new("me");
    let generation = directory.publish_view(view("Production"));
    assert_eq!(directory.outgoing().views.len(), 1);
    assert!(directory.outgoing().views.is_empty(), "once");
    directory.on_view(ModelView { generation: generation - 1, ..view("Staging") });
    let again = directory.outgoing().views;
    assert_eq!(again.len(), 1);
    let (key, record) = &again[0];
    assert_eq!(key, &DirectoryKey::View("m".into()));
    assert_eq!(ModelView::decode(record.as_deref().unwrap()).unwrap().generation, generation);

    directory.repeat_records();
    assert_eq!(directory.outgoing().views.len(), 1, "a topic that was created again gets it back");

    // a newer one is theirs to keep
    directory.on_view(ModelView { generation: generation + 2, ..view("Archived") });
    directory.on_view(ModelView { generation: generation + 1, ..view("Staging") });
    assert!(directory.outgoing().views.is_empty());
    directory.withdraw_view("m");
    assert!(matches!(&directory.outgoing().views[..], [(DirectoryKey::View(model), None)] if model == "m"));
}

#[test]
fn a_version_is_everywhere_when_every_live_replica_has_it() {
    let directory = ModelDirectory::expiring("me", Duration::from_secs(60));
    assert_eq!(everywhere(&directory, "m", 1), None);
    directory.report("m", Some(1), has(1, LoadState::Ready));
    assert_eq!(everywhere(&directory, "m", 1), Some(true));
    directory.on_state(other("b", has(1, LoadState::Loading)));
    assert_eq!(everywhere(&directory, "m", 1), Some(false));
    directory.on_state(other("b", has(1, LoadState::Failed)));
    assert_eq!(directory.ready_count("m", 1), ReadyCount { live: 2, ready: 1, failed: 1 });
    assert!(!directory.ready_count("m", 1).all_failed());
    assert_eq!(everywhere(&directory, "m", 2), Some(false), "a version that no replica reports");
    directory.on_removed(&DirectoryKey::Replica { replica: "b".into(), model: "m".into() });
    assert_eq!(everywhere(&directory, "m", 1), Some(true));
    assert_eq!(everywhere(&directory, "other", 1), None);
}

#[test]
fn a_silent_replica_does_not_hold_the_others_up() {
    let directory = ModelDirectory::expiring("me", Duration::ZERO);
    let changes = changes_of(&directory);
    directory.report("m", None, has(1, LoadState::Ready));
    directory.on_state(other("dead", has(1, LoadState::Loading)));
    assert!(changes.try_recv().is_ok());
    assert_eq!(everywhere(&directory, "m", 1), Some(true));
    directory.sweep();
    assert!(changes.try_recv().is_ok(), "its expiry is a change");
}

#[test]
fn records_of_the_long_dead_are_taken_away_unless_they_speak_again() {
    let directory = ModelDirectory::new("me");
    directory.on_stale(other("dead", vec![]));
    directory.on_stale(other("back", vec![]));
    directory.on_state(other("back", vec![]));
    assert_eq!(directory.replicas("m").len(), 1);
    assert!(matches!(&directory.outgoing().dead[..], [DirectoryKey::Replica { replica, .. }] if replica == "dead"));
    assert!(directory.outgoing().dead.is_empty(), "once");
}

#[test]
fn who_has_left_says_nothing_more() {
    let directory = ModelDirectory::new("me");
    directory.report("m", None, has(1, LoadState::Ready));
    assert_eq!(directory.outgoing().states.len(), 1);
    directory.leave();
    directory.report("m", None, has(1, LoadState::Ready));
    assert!(directory.outgoing().states.is_empty());
    assert!(directory.replicas("m").is_empty());
}

#[test]
fn what_was_said_before_the_topic_was_read_is_written_after_it() {
    let directory = ModelDirectory::new("me");
    directory.caught_up(false);
    directory.publish_view(view("Production"));
    assert!(directory.outgoing().views.is_empty());
    directory.caught_up(true);
    assert_eq!(directory.outgoing().views.len(), 1);
}

#[test]
fn echoes_of_this_replica_change_nothing() {
    let directory = ModelDirectory::new("me");
    directory.report("m", Some(2), has(2, LoadState::Ready));
    directory.on_state(other("me", has(1, LoadState::Failed)));
    directory.on_removed(&DirectoryKey::Replica { replica: "me".into(), model: "m".into() });
    assert_eq!(directory.replicas("m")[0].production, 2);
}

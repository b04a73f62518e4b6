//! Tests of the board as a whole.

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

#[test]
fn a_view_is_published_when_it_says_something_new_and_its_generation_grows() {
    let board = Board::new("me");
    let mut changes = board.changes().listen();
    let first = board.publish_view(view("Staging"));
    assert!(first > 1_700_000_000_000, "not below the clock: {first}");
    assert!(changes.sleep(Duration::ZERO));
    assert_eq!(board.publish_view(view("Staging")), first);
    assert!(!changes.sleep(Duration::ZERO), "nothing new");
    let second = board.publish_view(view("Production"));
    assert!(second > first);
    assert_eq!(board.view("m").unwrap().versions[0].stage, "Production");

    let theirs = ModelView { generation: u64::MAX - 5, ..view("Archived") };
    board.hear_view(theirs);
    assert_eq!(board.publish_view(view("Staging")), u64::MAX - 4, "above a clock that runs ahead");
}

#[test]
fn all_boards_choose_the_same_view_whatever_the_order() {
    let views = [
        ModelView { generation: 5, ..view("a") },
        ModelView { generation: 5, ..view("b") },
        ModelView { generation: 4, ..view("z") },
    ];
    let mut chosen = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let board = Board::new("me");
        order.iter().for_each(|at| board.hear_view(views[*at].clone()));
        chosen.push(board.view("m").unwrap().versions[0].stage.clone());
    }
    chosen.dedup();
    assert_eq!(chosen, ["b"]);
}

#[test]
fn an_older_view_that_comes_after_ours_is_written_over() {
    let board = Board::new("me");
    let generation = board.publish_view(view("Production"));
    assert_eq!(board.outgoing().views.len(), 1);
    assert!(board.outgoing().views.is_empty(), "once");
    board.hear_view(ModelView { generation: generation - 1, ..view("Staging") });
    let again = board.outgoing().views;
    assert_eq!(again.len(), 1);
    let (key, record) = &again[0];
    assert_eq!(key, &BoardKey::View("m".into()));
    assert_eq!(ModelView::decode(record.as_deref().unwrap()).unwrap().generation, generation);

    board.repeat_views();
    assert_eq!(board.outgoing().views.len(), 1, "a topic made anew gets it back");

    // a newer one is theirs to keep
    board.hear_view(ModelView { generation: generation + 2, ..view("Archived") });
    board.hear_view(ModelView { generation: generation + 1, ..view("Staging") });
    assert!(board.outgoing().views.is_empty());
    board.withdraw_view("m");
    assert!(matches!(&board.outgoing().views[..], [(BoardKey::View(model), None)] if model == "m"));
}

#[test]
fn a_version_is_everywhere_when_every_live_replica_has_it() {
    let board = Board::expiring("me", Duration::from_secs(60));
    assert_eq!(board.every_live_replica_has("m", 1), None);
    board.report("m", Some(1), has(1, LoadState::Ready));
    assert_eq!(board.every_live_replica_has("m", 1), Some(true));
    board.hear(other("b", has(1, LoadState::Loading)));
    assert_eq!(board.every_live_replica_has("m", 1), Some(false));
    board.hear(other("b", has(1, LoadState::Failed)));
    assert_eq!(board.tally("m", 1), Tally { live: 2, ready: 1, failed: 1 });
    assert!(!board.tally("m", 1).all_failed());
    assert_eq!(board.every_live_replica_has("m", 2), Some(false), "a version nobody speaks of");
    board.hear_gone(&BoardKey::Replica { replica: "b".into(), model: "m".into() });
    assert_eq!(board.every_live_replica_has("m", 1), Some(true));
    assert_eq!(board.every_live_replica_has("other", 1), None);
}

#[test]
fn a_silent_replica_does_not_hold_the_others_up() {
    let board = Board::expiring("me", Duration::ZERO);
    let mut changes = board.changes().listen();
    board.report("m", None, has(1, LoadState::Ready));
    board.hear(other("dead", has(1, LoadState::Loading)));
    assert!(changes.sleep(Duration::ZERO));
    assert_eq!(board.every_live_replica_has("m", 1), Some(true));
    board.sweep();
    assert!(changes.sleep(Duration::ZERO), "its expiry is told");
}

#[test]
fn records_of_the_long_dead_are_taken_away_unless_they_speak_again() {
    let board = Board::new("me");
    board.find_dead(other("dead", vec![]));
    board.find_dead(other("back", vec![]));
    board.hear(other("back", vec![]));
    assert_eq!(board.replicas("m").len(), 1);
    assert!(matches!(&board.outgoing().dead[..], [BoardKey::Replica { replica, .. }] if replica == "dead"));
    assert!(board.outgoing().dead.is_empty(), "once");
}

#[test]
fn who_has_left_says_nothing_more() {
    let board = Board::new("me");
    board.report("m", None, has(1, LoadState::Ready));
    assert_eq!(board.outgoing().states.len(), 1);
    board.leave();
    board.report("m", None, has(1, LoadState::Ready));
    assert!(board.outgoing().states.is_empty());
    assert!(board.replicas("m").is_empty());
}

#[test]
fn what_was_said_before_the_topic_was_read_is_written_after_it() {
    let board = Board::new("me");
    board.caught_up(false);
    board.publish_view(view("Production"));
    assert!(board.outgoing().views.is_empty());
    board.caught_up(true);
    assert_eq!(board.outgoing().views.len(), 1);
}

#[test]
fn echoes_of_this_replica_change_nothing() {
    let board = Board::new("me");
    board.report("m", Some(2), has(2, LoadState::Ready));
    board.hear(other("me", has(1, LoadState::Failed)));
    board.hear_gone(&BoardKey::Replica { replica: "me".into(), model: "m".into() });
    assert_eq!(board.replicas("m")[0].production, 2);
}

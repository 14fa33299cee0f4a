use super::*;

const OWNER: &str = "owner/0/job/session";

fn push() -> CallKind {
    CallKind::Push(Arc::new(Mailbox::new()))
}

fn pull(links: &mut Links) -> CallKind {
    CallKind::Pull(links.attach(OWNER))
}

/// A party's Push and Pull on one connection.
fn open(links: &mut Links, connection: u64) -> (u64, u64) {
    let (push, _) = links.enter(OWNER, connection, push());
    let kind = pull(links);
    (push, links.enter(OWNER, connection, kind).0)
}

#[test]
fn the_loss_of_one_call_takes_the_partys_other_along_and_is_told_once() {
    let mut links = Links::default();
    let (push, pull) = open(&mut links, 1);
    assert_eq!(links.lose(OWNER, pull).unwrap().calls.len(), 2);
    assert!(links.lose(OWNER, push).is_none());
    assert_eq!(links.len(), 0);
}

#[test]
fn the_late_end_of_a_replaced_connection_leaves_the_new_one_alone() {
    let mut links = Links::default();
    let (old_push, old_pull) = open(&mut links, 1);
    // The new Push has come, the new Pull has not.
    let (new_push, removed) = links.enter(OWNER, 2, push());
    assert_eq!(removed.calls.len(), 2);
    assert!(links.lose(OWNER, old_pull).is_none());
    assert!(!links.leave(OWNER, old_push));
    let kind = pull(&mut links);
    let (new_pull, removed) = links.enter(OWNER, 2, kind);
    assert!(removed.calls.is_empty());
    assert!(!links.leave(OWNER, new_push), "the Pull is left");
    assert!(links.leave(OWNER, new_pull));
}

#[test]
fn a_call_replaces_the_earlier_one_of_its_kind_on_the_same_connection() {
    let mut links = Links::default();
    let (old_push, pull) = open(&mut links, 1);
    let (new_push, removed) = links.enter(OWNER, 1, push());
    assert_eq!(removed.calls.iter().map(|call| call.id).collect::<Vec<_>>(), [old_push]);
    assert_eq!(links.lose(OWNER, new_push).unwrap().calls.iter().filter(|call| call.id == pull).count(), 1);
}

#[test]
fn only_owners_are_waited_for_and_only_while_something_waits() {
    let mut links = Links::default();
    assert!(links.outlet("rank/0/member").is_none());
    let waiting = links.outlet(OWNER).unwrap();
    assert!(Arc::ptr_eq(&links.attach(OWNER), &waiting), "the Pull gets what waits for it");
    links.purge();
    assert_eq!(links.len(), 1, "it is attached");
    links.outlet("owner/1/job/session").unwrap();
    links.purge();
    assert_eq!(links.len(), 1, "nothing waits for owner 1");
}

#[test]
fn a_dial_that_was_replaced_does_not_become_a_link() {
    let mut links = Links::default();
    let (first, _) = links.begin_dial("to rank 1");
    let (second, _) = links.begin_dial("to rank 1");
    assert!(!links.finish_dial("to rank 1", first, Arc::new(Outlet::waiting())));
    assert!(links.finish_dial("to rank 1", second, Arc::new(Outlet::waiting())));
    assert!(links.lose("to rank 1", first).is_none());
    assert!(links.lose("to rank 1", second).is_some());
    assert!(links.outlet("to rank 1").is_none());
}

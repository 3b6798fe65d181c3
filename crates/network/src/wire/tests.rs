//! What a keeper does without a device: it has keys and says why nothing is encrypted.

use super::*;

fn wish(active: bool, order: u64) -> Arc<WireWish> {
    let device = "remudawg-none".to_owned();
    Arc::new(WireWish { active, order, device, ..nobody() })
}

#[test]
fn a_host_has_a_key_before_anything_is_encrypted_and_makes_another_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::new();
    let first = keeper.step(dir.path(), None);
    assert!(first.keys.len() == 1 && first.problem.is_empty());
    assert_eq!(keeper.step(dir.path(), Some(&wish(false, 0))), first);
    let second = keeper.step(dir.path(), Some(&wish(false, 1)));
    assert!(second.keys.len() == 2 && second.keys[1] == first.keys[0]);
    assert_eq!(keeper.step(dir.path(), Some(&wish(false, 1))), second);
    let mut again = Keeper::new();
    assert_eq!(again.step(dir.path(), None), second, "after a new start");
}

#[test]
fn a_device_that_is_not_there_is_waited_for_and_told_of_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::new();
    let said = keeper.step(dir.path(), Some(&wish(true, 0)));
    assert_eq!(said.problem, "", "the fabric may be about to make it");
    assert_eq!(keeper.pause(Some(&wish(true, 0))), HURRY);
    let began = Instant::now().checked_sub(Duration::from_millis(MISSING_MS)).unwrap();
    keeper.shared = Arc::new(Shared::new(Table::empty(1), began));
    keeper.missing_since = Some(0);
    let said = keeper.step(dir.path(), Some(&wish(true, 0)));
    assert_eq!(said.problem, "the TUN device remudawg-none has not been made");
    assert_eq!(keeper.step(dir.path(), Some(&wish(false, 0))).problem, "");
}

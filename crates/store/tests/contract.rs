//! The contract of `Store`, one suite for every driver: what callers may rely on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

#[path = "contract/history.rs"]
mod history;
#[path = "contract/leases.rs"]
mod leases;
#[path = "contract/records.rs"]
mod records;
#[path = "contract/transactions.rs"]
mod transactions;
#[path = "contract/watches.rs"]
mod watches;

use model::time::Index;
use std::time::Duration;
use store::{Keys, Memory, Page, Read, Sqlite, Store, Watch, WatchEnd, WatchEvent};

/// Longest wait for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A driver under test.
trait Driver: Store {
    /// Lets the time of leases pass; a driver with a clock of its own needs no help.
    fn pass(&self, time: Duration);
}

impl Driver for Memory {
    fn pass(&self, time: Duration) {
        self.advance(time);
    }
}

impl Driver for Sqlite {
    fn pass(&self, _time: Duration) {}
}

async fn all<S: Store>(store: &S) -> Page {
    store.range(Keys::all(), Read::Latest).await.unwrap()
}

/// Keys and values as text, which is what most tests put.
fn texts(page: &Page) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    page.kvs.iter().map(|kv| (kv.key.to_string(), text(&kv.value))).collect()
}

async fn watch<S: Store>(store: &S, prefix: &str, after: u64) -> Watch {
    let epoch = store.status().await.epoch;
    store.watch(Keys::prefix(prefix), Index(after), epoch).await.unwrap()
}

async fn next(watch: &mut Watch) -> Result<WatchEvent, WatchEnd> {
    tokio::time::timeout(DEADLINE, watch.next()).await.expect("something comes in time")
}

macro_rules! contract {
    ($($room:ident: $($claim:ident)*;)*) => {
        mod memory {
            $($(#[tokio::test]
            async fn $claim() {
                crate::$room::$claim(store::Memory::new(store::Epoch([7; 16]))).await;
            })*)*
        }
        mod sqlite {
            $($(#[tokio::test]
            async fn $claim() {
                let dir = tempfile::tempdir().unwrap();
                crate::$room::$claim(store::Sqlite::open(dir.path()).await.unwrap()).await;
            })*)*
        }
    };
}

contract! {
    transactions:
        a_new_store_is_empty
        every_change_takes_the_next_index
        a_failed_compare_changes_nothing
        a_put_keeps_when_the_key_came_to_be
        what_breaks_a_limit_is_refused_and_changes_nothing
        nothing_is_lost_between_many_writers
        any_text_can_be_a_key_and_any_bytes_a_value
        a_range_has_its_start_and_not_its_end;
    history:
        the_past_can_be_read
        a_long_range_comes_in_pages_of_one_index
        what_is_compacted_is_gone_and_what_is_not_is_there
        a_backup_becomes_a_store_that_never_goes_back
        a_backup_takes_no_existing_file;
    watches:
        a_watch_delivers_whole_transactions_in_order
        a_watch_begins_in_the_past_and_goes_on_without_a_gap
        a_watch_sees_only_its_keys
        a_watch_of_another_epoch_or_of_the_future_ends
        a_watch_of_forgotten_history_ends
        a_slow_watch_is_cut_off_and_can_go_on
        a_watch_of_large_values_is_bounded_in_bytes
        a_watch_ends_with_its_store
        a_dropped_wait_loses_nothing;
    leases:
        the_keys_of_a_lease_go_together_when_its_time_is_over
        a_revoked_lease_takes_its_keys_at_once
        a_lease_that_is_kept_alive_stays
        a_lease_that_has_ended_refuses
        a_key_put_again_without_its_lease_stays
        a_lease_holds_a_bounded_number_of_keys;
    records:
        a_proposal_goes_through_the_store_into_a_cluster
        a_proposal_on_old_records_is_refused;
}

//! The contract of `Engine` on the fake.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "shared/suite.rs"]
mod suite;
#[path = "shared/shelf.rs"]
mod shelf;

use engine::Fake;
use ipnet::Ipv4Net;
use model::time::Timestamp;

struct OnFake {
    fake: Fake,
}

impl OnFake {
    fn new() -> Self {
        let fake = Fake::new(Timestamp(1_700_000_000_000));
        fake.add_image("remuda-test/box:1", None).unwrap();
        Self { fake }
    }
}

impl suite::Bench for OnFake {
    type Engine = Fake;

    fn engine(&self) -> &Fake {
        &self.fake
    }

    fn owner(&self) -> &str {
        "t1"
    }

    fn image(&self) -> &str {
        "remuda-test/box:1"
    }

    fn subnet(&self) -> Ipv4Net {
        "10.201.7.0/24".parse().unwrap()
    }

    fn pass(&self, ms: u64) {
        self.fake.advance(ms);
    }
}

macro_rules! contract {
    ($suite:ident: $($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            $suite::$name(&OnFake::new()).await;
        }
    )*};
}

contract! {
    suite:
    a_container_goes_through_its_life
    a_stop_waits_for_the_grace_period
    a_name_is_taken_once
    an_end_is_told_with_its_exit_code
    events_come_again_from_a_moment
    a_network_is_made_once_and_never_bent
    a_volume_is_made_once_and_never_removed
    an_image_is_here_or_missing
    a_log_is_read_line_by_line
    a_command_runs_in_a_container
    a_build_ends_with_an_image_or_with_its_step
    an_engine_tells_about_itself_and_its_containers
    names_cannot_leave_their_place
    a_container_shares_the_network_and_the_volumes_of_another
    a_container_is_connected_to_a_network_and_stays_so
}

contract! {
    shelf:
    an_image_goes_by_its_id_too
    images_are_listed_and_go_when_nothing_needs_them
    an_image_is_written_out_and_taken_in
}

//! Not one request fails while things change.

use crate::load::{Ask, Load};
use crate::machine::{Machine, on_a_machine};

/// `up` of the example with more arguments.
fn up(machine: &Machine, more: &[&str]) {
    let mut all = vec!["up"];
    all.extend(Machine::storefront());
    all.extend(more);
    machine.ok(&all);
}

#[test]
#[ignore = "needs docker and root"]
fn no_request_fails_while_a_service_is_scaled_and_restarted() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine, &[]);
        let load = Load::start(64, &Ask::storefront());
        machine.ok(&["svc", "scale", "storefront/httpfront", "20"]);
        assert_eq!(load.failed(), 0, "scaled up");
        machine.ok(&["svc", "scale", "storefront/httpfront", "3"]);
        assert_eq!(load.failed(), 0, "scaled down");
        machine.ok(&["svc", "restart", "storefront/httpfront"]);
        load.nothing_failed();
    });
}

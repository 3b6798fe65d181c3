//! The steps of a network policy besides its rules: the bridge shows them its packets.

use super::{Before, Plan, Seen, Step, overlay};
use crate::overlay::POLICY_SETTINGS;
use crate::wish::FabricWish;

/// Settings of the wish's bridge, which is there; after a policy they are as a new bridge has them.
pub(super) fn ensure(seen: &Seen, wish: &FabricWish, before: Option<Before<'_>>, plan: &mut Plan) {
    if !wish.policy.is_off() {
        overlay::set(seen, &wish.bridge, &POLICY_SETTINGS, plan);
    } else if before.is_some_and(|before| before.guarded) {
        plan.steps.extend(unset(seen, &wish.bridge));
    }
}

/// Puts a bridge's settings back.
pub(super) fn unset(seen: &Seen, bridge: &str) -> Vec<Step> {
    overlay::unset(seen, bridge, &POLICY_SETTINGS)
}

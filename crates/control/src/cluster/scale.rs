//! Rancher's `scale_policy`: from the least on, some more whenever all are well and there is room.

use super::draft::Draft;
use crate::ledger::Ledger;
use model::reason::Reason;
use model::record::{Rollout, Scaled};
use model::scaling::{Mode, Scaling};

/// Raises the scale by one step when every instance is ready, to the most or to what fits.
pub(super) fn fit(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    let Some(Scaling::Fit { min, max, increment }) = draft.service.settings.scaling else { return };
    if draft.service.settings.mode != Mode::Replicated {
        return;
    }
    let max = max.max(min);
    let now = draft.slots.len();
    let scale = u32::try_from(now).unwrap_or(u32::MAX);
    let settled = draft.status.rollout == Rollout::Done && draft.status.blocked.is_empty();
    if scale >= max || !settled {
        return;
    }
    let to = scale.saturating_add(increment.max(1)).min(max);
    let mut reached = scale;
    for n in scale.saturating_add(1)..=to {
        let reason = format!("scale policy: {to} of at most {max}");
        match draft.try_place(ledger, n, draft.service.target, &reason) {
            Ok(_) => reached = n,
            Err(why) => {
                let why = format!("{reached} of at most {max} fit: {why}");
                draft.block(0, Reason::ScaleHeld { why });
                break;
            }
        }
    }
    if reached == scale {
        return;
    }
    let why = format!("scale policy: all {scale} were well and more fit");
    draft.status.scaled = Some(Scaled { to: reached, why, at: draft.now });
    draft.status.rollout =
        Rollout::Running { target: draft.service.target, before: None, since: draft.now };
}

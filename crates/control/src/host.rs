//! One host: what it should hold (`spec`, on the server), and the next actions to get there
//! (`plan`, on the agent).

mod company;
mod decide;
mod images;
mod lease;
mod memo;
mod plan;
mod spec;

pub use images::{
    HostImage, ImageRefusal, ImageRemoval, ImageSweep, ImageUse, ImagesSeen, is_disk_short, sweep,
};
pub use memo::Memo;
pub use plan::{
    Action, Busy, BusyKind, HostPlan, Joined, Lease, Probe, Seen, SeenContainer, SeenInstance, plan,
};
pub(crate) use spec::{Held, attachments, belongings, held, labels, search, spec_of};
pub use spec::{container, spec};

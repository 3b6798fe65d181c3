//! Known defects that the simulation puts in to see that it finds them. Without the feature
//! `mutations`, which nothing that is shipped has, none of them can be in.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// Decisions are stored whatever became of the records that they rest on.
    DropFence,
    /// A service that comes back under its old name gives its old ids again.
    ReuseIncarnation,
    /// An instance that leaves is stopped while requests are under way.
    ForgetDrain,
    /// What is reserved on a host is not counted.
    LoseReservation,
    /// A host port is given to a second service.
    PortTwice,
    /// An address is given again while somebody has it.
    AddressTwice,
    /// What a host says of instances of other hosts is believed.
    StatusOfOthers,
    /// The old instance goes when the new one is made, not when it is ready.
    HandOverEarly,
    /// The record of an instance that is gone stays.
    ForgetGone,
    /// After a lost answer a container is made a second time.
    CreateAgain,
    /// Instances beyond the scale stay.
    KeepSurplus,
    /// What cannot be done is not said.
    LoseReason,
    /// A host does not stop what may run elsewhere when it does not hear the server.
    OutliveLease,
    /// A job that forbids a second run begins one beside the first.
    RunBeside,
    /// Who shares a namespace stays in the old one when its owner starts again.
    StayBehind,
    /// Hard constraints are not looked at.
    IgnoreConstraint,
    /// A global service forgets one of the hosts.
    SkipHost,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::DropFence,
        Self::ReuseIncarnation,
        Self::ForgetDrain,
        Self::LoseReservation,
        Self::PortTwice,
        Self::AddressTwice,
        Self::StatusOfOthers,
        Self::HandOverEarly,
        Self::ForgetGone,
        Self::CreateAgain,
        Self::KeepSurplus,
        Self::LoseReason,
        Self::OutliveLease,
        Self::RunBeside,
        Self::StayBehind,
        Self::IgnoreConstraint,
        Self::SkipHost,
    ];
}

#[cfg(feature = "mutations")]
thread_local! {
    static IN: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Puts a defect into all that this thread runs from now on, or takes it out.
#[cfg(feature = "mutations")]
pub fn put_in(mutation: Option<Mutation>) {
    IN.set(mutation);
}

/// Is this defect in?
#[cfg(feature = "mutations")]
#[must_use]
pub fn is_in(mutation: Mutation) -> bool {
    IN.get() == Some(mutation)
}

/// Is this defect in? Never.
#[cfg(not(feature = "mutations"))]
#[must_use]
#[inline(always)]
pub const fn is_in(_mutation: Mutation) -> bool {
    false
}

//! What the fake is told to do wrong.

/// A method of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `info`
    Info,
    /// `ping`
    Ping,
    /// `list`
    List,
    /// `list_plain`
    ListPlain,
    /// `connect`
    Connect,
    /// `disconnect`
    Disconnect,
    /// `inspect`
    Inspect,
    /// `ensure_network`
    EnsureNetwork,
    /// `remove_network`
    RemoveNetwork,
    /// `ensure_volume`
    EnsureVolume,
    /// `list_volumes`
    ListVolumes,
    /// `pull`
    Pull,
    /// `image`
    Image,
    /// `tag_image`
    TagImage,
    /// `remove_image`
    RemoveImage,
    /// `save_image`
    SaveImage,
    /// `load_image`
    LoadImage,
    /// `images`
    Images,
    /// `images_in_use`
    ImagesInUse,
    /// `disk`
    Disk,
    /// `create`
    Create,
    /// `start`
    Start,
    /// `stop`
    Stop,
    /// `kill`
    Kill,
    /// `remove`
    Remove,
    /// `events`
    Events,
    /// `logs`
    Logs,
    /// `exec`
    Exec,
    /// `exec_resize` and `exec_exit`
    ExecControl,
    /// `stats`
    Stats,
    /// `build`
    Build,
}

/// A fault that waits for its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which calls; `None` is all.
    pub op: Option<Op>,
    /// Only those about this container (name or id), network, volume or image; `None` is all.
    pub subject: Option<String>,
    /// Calls let through first.
    pub skip: u32,
    /// Calls it strikes then.
    pub times: u32,
    /// What happens.
    pub kind: FaultKind,
}

impl Fault {
    /// Strikes the next call of `op`.
    #[must_use]
    pub fn once(op: Op, kind: FaultKind) -> Self {
        Self { op: Some(op), subject: None, skip: 0, times: 1, kind }
    }

    pub(super) fn is_for(&self, op: Op, subjects: &[&str]) -> bool {
        self.op.is_none_or(|wanted| wanted == op)
            && self.subject.as_deref().is_none_or(|wanted| subjects.contains(&wanted))
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Status 500, nothing done.
    ErrorBefore,
    /// Status 500, although it was done.
    ErrorAfter,
    /// The connection breaks before it is done.
    LostRequest,
    /// The connection breaks after it was done.
    LostReply,
    /// No answer until the deadline, nothing done.
    Hang,
    /// No answer until the deadline, although it was done.
    HangAfter,
    /// Done after a while.
    Slow {
        /// Milliseconds of the fake's clock.
        ms: u64,
    },
}

/// How the engine is as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// It answers.
    #[default]
    Up,
    /// Nobody listens: every call is refused, streams end, containers go on.
    Down,
    /// It takes calls and answers none (SIGSTOP); they go on when it is up again, or time out.
    Hung,
}

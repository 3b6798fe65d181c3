//! Which signal means what: end, read again, or pass on to the child.

use crate::error::Error;
use crate::settings::Settings;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// To end, with this exit code.
    Stop(u8),
    /// To read configuration and templates again.
    Reload,
    /// To be passed on to the child.
    Forward(Signal),
}

/// Signals that are passed on to a child unless they mean something here.
const PASSED: [Signal; 6] =
    [Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH, Signal::ALARM, Signal::HUP];
/// Signals that wait to be taken up; more of them are one.
const QUEUE: usize = 16;

/// Hears signals.
pub(crate) struct Signals {
    heard: mpsc::Receiver<Heard>,
    _tasks: JoinSet<()>,
}

/// What a signal means by the settings.
pub(super) fn meaning(settings: &Settings, signal: Signal) -> Option<Heard> {
    if settings.kill_signals.contains(&signal) {
        return Some(Heard::Stop(if signal == Signal::INT { 130 } else { 0 }));
    }
    if settings.reload_signals.contains(&signal) {
        return Some(Heard::Reload);
    }
    (settings.exec.is_some() && PASSED.contains(&signal)).then_some(Heard::Forward(signal))
}

impl Signals {
    /// Hears from now on.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let (to, heard) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let mut all = settings.kill_signals.clone();
        all.extend(&settings.reload_signals);
        all.extend(PASSED);
        all.sort_unstable_by_key(|signal| signal.as_raw());
        all.dedup();
        for one in all {
            let Some(meaning) = meaning(settings, one) else { continue };
            let mut stream = signal(SignalKind::from_raw(one.as_raw())).map_err(Error::Signals)?;
            let to = to.clone();
            tasks.spawn(async move {
                while stream.recv().await.is_some() {
                    if to.send(meaning).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { heard, _tasks: tasks })
    }

    /// The next one. May be given up at any time.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            // Nothing is heard any more.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Command, Exec};

    #[test]
    fn signals_mean_what_the_settings_say() {
        let mut settings = Settings::default();
        for (signal, expect) in [
            (Signal::TERM, Some(Heard::Stop(0))),
            (Signal::INT, Some(Heard::Stop(130))),
            (Signal::HUP, Some(Heard::Reload)),
            (Signal::USR1, None),
        ] {
            assert_eq!(meaning(&settings, signal), expect, "{signal:?}");
        }
        settings.exec = Some(Exec::new(Command::Shell("x".into())));
        settings.reload_signals = vec![Signal::USR2];
        assert_eq!(meaning(&settings, Signal::USR2), Some(Heard::Reload));
        assert_eq!(meaning(&settings, Signal::HUP), Some(Heard::Forward(Signal::HUP)));
    }
}

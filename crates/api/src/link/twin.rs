//! Two agents that say that they are the same host: one that has come again, or a copy of a machine?
//! What is known of both decides; where that is not enough, the first one is listened to: who is
//! still heard is alive, and the other one is a copy.

use super::AgentRun;
use std::net::IpAddr;

/// What is known of an agent with a session, or of one that wants to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Where it comes from; `None` in the server's own process.
    pub(super) address: Option<IpAddr>,
    /// Which run of which agent it is; older agents do not say.
    pub(super) run: Option<AgentRun>,
}

/// What becomes of the one that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the first one: its old session is over, whether that was seen or not.
    TakeOver,
    /// It is refused if the first one is heard again, and takes its place if not.
    Listen,
    /// It is refused.
    Refuse,
}

/// Judges who comes while another one has the session.
pub(super) fn judge(first: &Known, comes: &Known) -> Verdict {
    // Within a process there is nothing that could be cut off and not be seen so.
    let (Some(first_at), Some(comes_from)) = (first.address, comes.address) else {
        return Verdict::Refuse;
    };
    let process = |known: &Known| known.run.as_ref().map(|run| run.process.clone());
    match (process(first), process(comes)) {
        // A copy of a machine that was copied while it ran has the same, at another address.
        (Some(one), Some(other)) if one == other && first_at == comes_from => Verdict::TakeOver,
        _ => Verdict::Listen,
    }
}

/// What the one that is refused hears.
pub(super) fn told(host: &model::id::HostId, first: &Known) -> String {
    let Some(address) = first.address else {
        return format!(
            "another agent is connected as host {host}; stop one of the two, or join this one under \
             another id with --host"
        );
    };
    let machine = first
        .run
        .as_ref()
        .map_or_else(String::new, |run| format!(", a machine named {}", run.hostname));
    format!(
        "another agent is connected as host {host} from {address}{machine}; if this machine is a \
         copy of that one, `remuda agent reset --keep-containers` gives this one an identity of its \
         own, to join with --host and a token"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_run_at_the_same_place_is_believed_without_a_look() {
        let known = |text: &str| {
            let mut words = text.split(' ');
            let mut next = || words.next().filter(|word| *word != "-");
            let address = next().map(|last| format!("10.0.0.{last}").parse().unwrap());
            let (process, boot) = (next(), next());
            let run = process.map(|process| AgentRun {
                process: process.into(),
                boot: boot.unwrap_or_default().into(),
                hostname: "node".into(),
            });
            Known { address, run }
        };
        for (first, comes, verdict, why) in [
            ("1 p b", "1 p b", Verdict::TakeOver, "its connection broke and it has come again"),
            ("1 p b", "2 p b", Verdict::Listen, "it moved, or was copied while it ran"),
            ("1 p b", "1 q b", Verdict::Listen, "its process began anew, or both are behind a NAT"),
            ("1 p b", "1 q c", Verdict::Listen, "the machine began anew, or a copy of it did"),
            ("1 p b", "2 q c", Verdict::Listen, "a copy, or a machine with another address now"),
            ("1 -", "1 -", Verdict::Listen, "older agents"),
            ("1 -", "1 p b", Verdict::Listen, "an agent that was brought up to date"),
            ("- -", "- -", Verdict::Refuse, "both in the server's process"),
            ("- -", "1 p b", Verdict::Refuse, "the server's own host"),
            ("1 p b", "- -", Verdict::Refuse, "the server's own host comes late"),
        ] {
            assert_eq!(judge(&known(first), &known(comes)), verdict, "{why}");
        }
        let text = told(&"h1".parse().unwrap(), &known("7 p b"));
        for words in ["host h1", "10.0.0.7", "node", "reset --keep-containers"] {
            assert!(text.contains(words), "{words} in: {text}");
        }
    }
}

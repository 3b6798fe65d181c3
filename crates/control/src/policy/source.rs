//! Sets of members that a rule means by who opens a connection.

use super::member::Member;
use model::id::{ServiceId, StackName};
use model::policy::{Between, PolicyPeer, PolicyRule, Within};
use model::selector::Selector;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// Who opens a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Those that are named.
    Peer(PolicyPeer),
    /// Those that have a link to a service.
    Linked(ServiceId),
    /// Those that are like the destination.
    Alike { selector: Option<Selector>, label: Option<(String, String)> },
}

/// Whom a rule means for this destination; `None` when it is not about it, `Some(None)` is
/// everyone.
#[expect(clippy::option_option, reason = "not about it, about everyone, or about some")]
pub(super) fn of(rule: &PolicyRule, to: &Member<'_>) -> Option<Option<Source>> {
    if let Some(within) = rule.within {
        return within_of(within, to).map(Some);
    }
    if let Some(between) = &rule.between {
        return alike(between, to).map(Some);
    }
    let is_meant = rule.to.as_ref().is_none_or(|peer| is(peer, to));
    is_meant.then(|| rule.from.clone().map(Source::Peer))
}

fn within_of(within: Within, to: &Member<'_>) -> Option<Source> {
    let service = to.service?;
    let of = |stack: Option<&StackName>, service: Option<&ServiceId>| {
        let (stack, service) = (stack.cloned(), service.cloned());
        Source::Peer(PolicyPeer { stack, service, selector: None })
    };
    Some(match within {
        Within::Stack => of(Some(&service.stack), None),
        Within::Service => of(None, Some(service)),
        Within::Linked => Source::Linked(service.clone()),
    })
}

fn alike(between: &Between, to: &Member<'_>) -> Option<Source> {
    let labels = to.labels?;
    let Between { selector, group_by } = between;
    if selector.as_ref().is_some_and(|selector| !selector.matches(labels)) {
        return None;
    }
    let label = match group_by {
        None => None,
        Some(key) => Some((key.clone(), labels.get(key)?.clone())),
    };
    Some(Source::Alike { selector: selector.clone(), label })
}

fn is(peer: &PolicyPeer, member: &Member<'_>) -> bool {
    let matches = |selector: &Selector| member.labels.is_some_and(|l| selector.matches(l));
    peer.stack.as_ref().is_none_or(|stack| member.stack() == Some(stack))
        && peer.service.as_ref().is_none_or(|service| member.service == Some(service))
        && peer.selector.as_ref().is_none_or(matches)
}

impl Source {
    /// Is it one of them?
    pub(super) fn has(&self, member: &Member<'_>) -> bool {
        match self {
            Self::Peer(peer) => is(peer, member),
            Self::Linked(service) => member.linked.contains(service),
            Self::Alike { selector, label } => member.labels.is_some_and(|labels| {
                selector.as_ref().is_none_or(|selector| selector.matches(labels))
                    && label.as_ref().is_none_or(|(key, value)| labels.get(key) == Some(value))
            }),
        }
    }

    /// The addresses of all of them.
    pub(super) fn addresses(&self, members: &[Member<'_>]) -> BTreeSet<Ipv4Addr> {
        let all = members.iter().filter(|member| self.has(member));
        all.flat_map(|member| member.addresses.iter().copied()).collect()
    }
}

/// Its name among a host's sources: others have others.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Linked(service) => write!(f, "linked to {service}"),
            Self::Alike { selector, label } => {
                f.write_str("alike")?;
                if let Some(selector) = selector {
                    write!(f, " by {selector}")?;
                }
                match label {
                    Some((key, value)) => write!(f, " with {key:?} {value:?}"),
                    None => Ok(()),
                }
            }
        }
    }
}

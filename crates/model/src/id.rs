//! Names and ids: newtypes, parsed once at the door and never checked again.

use crate::limits::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {shown:?} is not valid: {why}")]
pub struct InvalidName {
    /// Which kind of name.
    pub what: &'static str,
    /// The name, cut to a printable length.
    pub shown: String,
    /// The rule it breaks.
    pub why: &'static str,
}

fn invalid(what: &'static str, text: &str, why: &'static str) -> InvalidName {
    InvalidName { what, shown: text.chars().take(80).collect(), why }
}

/// A DNS label as stacks and services use it: letters, digits, `-` and `_`, not starting with
/// a sign, at most 63 bytes. Case is kept for display; names are compared in lower case by DNS.
fn label(what: &'static str, text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(invalid(what, text, "it is empty"));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(invalid(what, text, "it is longer than 63 bytes"));
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err(invalid(what, text, "only letters, digits, '-' and '_' are allowed"));
    }
    if !text.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(invalid(what, text, "it must start with a letter or a digit"));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks the text and takes it as a name.
            ///
            /// # Errors
            /// `InvalidName` with the rule that the text breaks.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                label($what, text)?;
                Ok(Self(text.into()))
            }

            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A stack's name, unique in its environment.
    StackName, "stack name"
);
name!(
    /// A service's name, unique in its stack.
    ServiceName, "service name"
);
name!(
    /// A host's id, unique in the cluster.
    HostId, "host id"
);

impl StackName {
    /// Before every name; no stack has it.
    pub(crate) fn lowest() -> Self {
        Self("".into())
    }
}

impl ServiceName {
    /// Before every name; no service has it.
    pub(crate) fn lowest() -> Self {
        Self("".into())
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A service in its stack, written `stack/service`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// The stack.
    pub stack: StackName,
    /// The service in it.
    pub service: ServiceName,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stack, self.service)
    }
}

impl FromStr for ServiceId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let Some((stack, service)) = text.split_once('/') else {
            return Err(invalid("service", text, "it must be written stack/service"));
        };
        Ok(Self { stack: stack.parse()?, service: service.parse()? })
    }
}
as_text!(ServiceId);

/// One incarnation of one slot of a service, written `stack/service#n@incarnation`.
/// `n` (Rancher's `service_index`) is reused, `incarnation` (`create_index`) never.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    /// The service.
    pub service: ServiceId,
    /// The slot, from 1 to the scale.
    pub n: u32,
    /// Counts every instance that the service ever had, from 1; Rancher's `create_index`.
    pub incarnation: u64,
    /// Set where one container of the instance is meant and it is not the primary.
    pub sidekick: Option<ServiceName>,
}

impl InstanceId {
    /// An instance, or its primary container.
    #[must_use]
    pub fn new(service: ServiceId, n: u32, incarnation: u64) -> Self {
        Self { service, n, incarnation, sidekick: None }
    }

    /// A container of this instance: a sidekick, or the primary.
    #[must_use]
    pub fn container(&self, sidekick: Option<&ServiceName>) -> Self {
        Self { sidekick: sidekick.cloned(), ..self.clone() }
    }

    /// The instance that this container is of.
    #[must_use]
    pub fn instance(&self) -> Self {
        Self { sidekick: None, ..self.clone() }
    }

    /// Rancher's name of the container, which metadata and DNS show:
    /// `<stack>-<service>-[<sidekick>-]<n>`.
    #[must_use]
    pub fn public_name(&self) -> String {
        let ServiceId { stack, service } = &self.service;
        match &self.sidekick {
            Some(sidekick) => format!("{stack}-{service}-{sidekick}-{}", self.n),
            None => format!("{stack}-{service}-{}", self.n),
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}@{}", self.service, self.n, self.incarnation)?;
        match &self.sidekick {
            Some(sidekick) => write!(f, "+{sidekick}"),
            None => Ok(()),
        }
    }
}

impl FromStr for InstanceId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = || invalid("instance", text, "it must be written stack/service#n@incarnation");
        let (service, rest) = text.split_once('#').ok_or_else(bad)?;
        let (n, rest) = rest.split_once('@').ok_or_else(bad)?;
        let (incarnation, sidekick) = match rest.split_once('+') {
            Some((incarnation, sidekick)) => (incarnation, Some(sidekick.parse()?)),
            None => (rest, None),
        };
        let n: u32 = n.parse().map_err(|_not_a_number| bad())?;
        let incarnation: u64 = incarnation.parse().map_err(|_not_a_number| bad())?;
        Ok(Self { service: service.parse()?, n, incarnation, sidekick })
    }
}
as_text!(InstanceId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_survives_its_text() {
        let id: InstanceId = "shop/web#3@17".parse().unwrap();
        assert_eq!(id.to_string(), "shop/web#3@17");
        assert_eq!(id.public_name(), "shop-web-3");
        let sidekick: InstanceId = "shop/web#3@17+log".parse().unwrap();
        assert_eq!(sidekick.to_string(), "shop/web#3@17+log");
        assert_eq!(sidekick.public_name(), "shop-web-log-3");
        assert_eq!(sidekick.instance(), id);
        assert!("shop/web#3@17+".parse::<InstanceId>().is_err());
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<InstanceId>(&json).unwrap(), id);
    }

    #[test]
    fn a_name_that_breaks_a_rule_is_refused_with_the_rule() {
        for (text, why) in [
            ("", "empty"),
            ("-a", "start with"),
            ("a b", "only letters"),
            ("a/b", "only letters"),
            ("ü", "only letters"),
            (&"a".repeat(64), "longer than 63"),
        ] {
            let error = StackName::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!("shop".parse::<ServiceId>().is_err());
        assert!("shop/web#x@1".parse::<InstanceId>().is_err());
    }
}

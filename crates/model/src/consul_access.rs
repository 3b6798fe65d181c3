//! Who may do what over the Consul API: whether it asks for tokens, and what containers may.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Who may do what over the Consul API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ConsulAccess {
    /// Does it ask for tokens?
    pub acl: AclMode,
    /// What containers may at 169.254.169.250:8500.
    pub containers: ContainerAccess,
}

/// Does the Consul API ask for tokens, and what may be done that no policy names?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AclMode {
    /// Tokens are not looked at, and everything may be done.
    #[default]
    Off,
    /// What no policy names may be done.
    Allow,
    /// What no policy names may not be done.
    Deny,
}

/// What containers may over the Consul API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerAccess {
    /// Nothing.
    Off,
    /// Read.
    #[default]
    Read,
    /// Whatever a program of the host may.
    Write,
}

impl ConsulAccess {
    /// Is nothing said otherwise than by default?
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl AclMode {
    /// The word of people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl ContainerAccess {
    /// The word of people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl FromStr for ContainerAccess {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Off, Self::Read, Self::Write];
        let found = all.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not off, read or write"))
    }
}

impl FromStr for AclMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Off, Self::Allow, Self::Deny];
        let found = all.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not off, allow or deny"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for mode in [AclMode::Off, AclMode::Allow, AclMode::Deny] {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        for access in [ContainerAccess::Off, ContainerAccess::Read, ContainerAccess::Write] {
            assert_eq!(access.as_str().parse(), Ok(access));
        }
        assert!("on".parse::<AclMode>().is_err() && "all".parse::<ContainerAccess>().is_err());
        assert_eq!(serde_json::from_str::<ConsulAccess>("{}").unwrap(), ConsulAccess::default());
    }
}

//! Tokens, policies and roles as they are kept. Of a token's secret a keyed hash is kept, as the key of
//! its row, and nothing else.

use super::authority::{ANONYMOUS, Authority};
use super::level::{Level, Named, Rules};
use super::rules;
use crate::shelf::Rows;
use bytes::Bytes;
use model::consul_access::AclMode;
use ring::hmac;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The policy that may do everything.
pub(super) const MANAGEMENT: &str = "00000000-0000-0000-0000-000000000001";
/// Its name.
pub(super) const MANAGEMENT_NAME: &str = "global-management";
/// The word that stands for no token.
pub(super) const ANONYMOUS_SECRET: &str = "anonymous";
/// Row of the key of all hashes.
pub(super) const KEY_ROW: &str = "key";
/// Row that says that the first token was made, and by its index when.
pub(super) const BOOTSTRAP_ROW: &str = "bootstrap";

/// What tokens and roles are linked to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Links {
    /// Ids of policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) policies: Vec<String>,
    /// Ids of roles; a role has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
    /// Names of services that it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) services: Vec<String>,
    /// Names of nodes that it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) nodes: Vec<String>,
}

/// A token, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    pub(super) accessor: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(default)]
    pub(super) links: Links,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) local: bool,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub(super) made: i64,
    /// When it ends, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ends: Option<i64>,
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Policy {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(default)]
    pub(super) rules: String,
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Role {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(default)]
    pub(super) links: Links,
}

/// Something with the indexes of its row.
#[derive(Clone, Debug)]
pub(super) struct Kept<T> {
    /// Key of the row.
    pub(super) row: String,
    pub(super) value: T,
    pub(super) created: u64,
    pub(super) modified: u64,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    // Texts and numbers can always be written.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn all<T: DeserializeOwned>(rows: &Rows, prefix: &'static str) -> impl Iterator<Item = Kept<T>> {
    let all: Vec<_> = rows.below(prefix).collect();
    all.into_iter()
        .filter_map(move |(rest, row)| {
            // One that a newer version wrote and that is not understood gives no rights.
            let value = serde_json::from_slice(&row.value).ok()?;
            let (created, modified) = (row.created, row.modified);
            Some(Kept { row: format!("{prefix}{rest}"), value, created, modified })
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn one<T: DeserializeOwned>(rows: &Rows, row: String) -> Option<Kept<T>> {
    let found = rows.get(&row)?;
    let value = serde_json::from_slice(&found.value).ok()?;
    Some(Kept { row, value, created: found.created, modified: found.modified })
}

/// Row of a token.
pub(super) fn token_row(hash: &str) -> String {
    format!("token/{hash}")
}

/// The token that is used where none is said.
pub(super) fn anonymous(rows: &Rows) -> Kept<Token> {
    one(rows, token_row(ANONYMOUS_SECRET)).unwrap_or_else(|| Kept {
        row: token_row(ANONYMOUS_SECRET),
        value: Token {
            accessor: ANONYMOUS.to_owned(),
            description: "Anonymous Token".into(),
            ..Token::default()
        },
        created: 1,
        modified: 1,
    })
}

/// All tokens, the anonymous one among them.
pub(super) fn tokens(rows: &Rows) -> Vec<Kept<Token>> {
    let own = token_row(ANONYMOUS_SECRET);
    let others = all::<Token>(rows, "token/").filter(|kept| kept.row != own);
    std::iter::once(anonymous(rows)).chain(others).collect()
}

/// A token by its accessor.
pub(super) fn token(rows: &Rows, accessor: &str) -> Option<Kept<Token>> {
    tokens(rows).into_iter().find(|kept| kept.value.accessor == accessor)
}

/// A token by the hash of its secret.
pub(super) fn token_of(rows: &Rows, hash: &str) -> Option<Kept<Token>> {
    one(rows, token_row(hash))
}

fn management(rows: &Rows) -> Kept<Policy> {
    let row = format!("policy/{MANAGEMENT}");
    let known = one::<Policy>(rows, row.clone());
    let (created, modified) = known.as_ref().map_or((1, 1), |k| (k.created, k.modified));
    let known = known.map(|kept| kept.value).unwrap_or_else(|| Policy {
        name: MANAGEMENT_NAME.into(),
        description: "Builtin Policy that grants unlimited access".into(),
        ..Policy::default()
    });
    let mut rules: Vec<String> = vec!["acl = \"write\"".into()];
    for kind in Named::ALL.into_iter().filter(|kind| *kind != Named::Key) {
        let name = kind.as_str();
        rules.push(format!("{name}_prefix \"\" {{\n\tpolicy = \"write\"\n}}"));
    }
    rules.push("key_prefix \"\" {\n\tpolicy = \"write\"\n}".into());
    rules.extend(["operator", "keyring"].map(|what| format!("{what} = \"write\"")));
    let value = Policy { id: MANAGEMENT.into(), rules: rules.join("\n"), ..known };
    Kept { row, value, created, modified }
}

/// All policies.
pub(super) fn policies(rows: &Rows) -> Vec<Kept<Policy>> {
    let others = all::<Policy>(rows, "policy/").filter(|kept| kept.value.id != MANAGEMENT);
    std::iter::once(management(rows)).chain(others).collect()
}

/// A policy by its id.
pub(super) fn policy(rows: &Rows, id: &str) -> Option<Kept<Policy>> {
    match id {
        MANAGEMENT => Some(management(rows)),
        id => one(rows, format!("policy/{id}")),
    }
}

/// All roles.
pub(super) fn roles(rows: &Rows) -> Vec<Kept<Role>> {
    all(rows, "role/").collect()
}

/// A role by its id.
pub(super) fn role(rows: &Rows, id: &str) -> Option<Kept<Role>> {
    one(rows, format!("role/{id}"))
}

/// The keyed hash of a secret, in hex; `None` before there is a key, and so any token.
pub(super) fn hash(rows: &Rows, secret: &str) -> Option<String> {
    Some(hash_with(&rows.get(KEY_ROW)?.value, secret))
}

/// The same with a key that is not kept yet.
pub(super) fn hash_with(key: &[u8], secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    crate::uuid::hex(hmac::sign(&key, secret.as_bytes()).as_ref())
}

/// What a token may do by its policies, its roles and what it is.
pub(super) fn authority(rows: &Rows, token: &Token, mode: AclMode) -> Authority {
    let (mut rules, mut is_all) = (Rules::default(), false);
    let roles = token.links.roles.iter().filter_map(|id| role(rows, id));
    let roles: Vec<Links> = roles.map(|kept| kept.value.links).collect();
    for links in roles.iter().chain([&token.links]) {
        for id in &links.policies {
            is_all |= id == MANAGEMENT;
            let Some(policy) = policy(rows, id) else { continue };
            match rules::parse(&policy.value.rules) {
                Ok(more) => rules.add(&more),
                Err(error) => tracing::error!(id, error, "rules of a policy are not understood"),
            }
        }
        for name in &links.services {
            for name in [name.clone(), format!("{name}-sidecar-proxy")] {
                rules.put_named(Named::Service, &name, false, Level::Write);
            }
            rules.put_named(Named::Service, "", true, Level::Read);
            rules.put_named(Named::Node, "", true, Level::Read);
        }
        for name in &links.nodes {
            rules.put_named(Named::Node, name, false, Level::Write);
            rules.put_named(Named::Service, "", true, Level::Read);
        }
    }
    let authority = Authority::of(&token.accessor, rules, mode, token.ends);
    if is_all { authority.with_all() } else { authority }
}

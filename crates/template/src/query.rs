//! What a template may ask for, how the argument of a function says it, and which path of the
//! Consul API answers it. Pure.

use std::fmt;
use std::path::PathBuf;

/// A status of an instance, and what `service` may filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// All checks pass.
    Passing,
    /// One warns.
    Warning,
    /// One is critical.
    Critical,
    /// Somebody took it out.
    Maintenance,
    /// Whatever it is.
    Any,
}

impl Status {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Maintenance => "maintenance",
            Self::Any => "any",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Passing, Self::Warning, Self::Critical, Self::Maintenance, Self::Any]
            .into_iter()
            .find(|status| status.word() == word)
    }
}

/// One thing that a template asks for: what is watched, and what is known is kept by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// All services with their tags.
    Services(Scope),
    /// The instances of one.
    Service {
        /// Its name.
        name: String,
        /// A tag that they have; empty for none.
        tag: String,
        /// Statuses that are taken.
        statuses: Vec<Status>,
        /// Where.
        scope: Scope,
    },
    /// All nodes.
    Nodes(Scope),
    /// One node with its services; `None` is the agent's own.
    Node(Option<String>, Scope),
    /// The names of the datacenters.
    Datacenters,
    /// A key.
    Key(String, Scope),
    /// All keys below a prefix.
    Keys(String, Scope),
    /// A file of this machine.
    File(PathBuf),
}

/// Where something is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Datacenter; empty is the agent's own.
    pub dc: String,
    /// Node that the answer is sorted by; empty for none.
    pub near: String,
    /// Further parameters (`ns`, `peer`, `partition`), as they are sent.
    pub more: Vec<(String, String)>,
}

/// Parameters that may be in an argument.
const MORE: [&str; 5] = ["ns", "peer", "partition", "sameness-group", "cached"];

impl Scope {
    /// Takes `?a=b&c=d`, `@dc` and `~near` off the end of an argument.
    fn take(text: &str) -> Result<(&str, Self), String> {
        let mut scope = Self::default();
        let Some(end) = text.find(['?', '@', '~']) else { return Ok((text, scope)) };
        let (name, mut rest) = text.split_at(end);
        while let Some(sign) = rest.chars().next() {
            let tail = rest.get(1..).unwrap_or_default();
            let end = tail.find(['?', '@', '~']).unwrap_or(tail.len());
            let (part, next) = tail.split_at(end);
            if part.is_empty() {
                return Err(format!("nothing after {sign:?}"));
            }
            match sign {
                '@' => scope.dc = part.to_owned(),
                '~' => scope.near = part.to_owned(),
                _ => {
                    for pair in part.split('&') {
                        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                        if !MORE.contains(&key) {
                            return Err(format!("parameter {key:?} is not known"));
                        }
                        scope.more.push((key.to_owned(), value.to_owned()));
                    }
                }
            }
            rest = next;
        }
        Ok((name, scope))
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let mut all = vec![];
        if !self.dc.is_empty() {
            all.push(("dc".to_owned(), self.dc.clone()));
        }
        if !self.near.is_empty() {
            all.push(("near".to_owned(), self.near.clone()));
        }
        all.extend(self.more.iter().cloned());
        all
    }
}

impl Query {
    /// `services "@dc"`.
    ///
    /// # Errors
    /// Why the argument is none.
    pub fn services(argument: &str) -> Result<Self, String> {
        match Scope::take(argument)? {
            ("", scope) => Ok(Self::Services(scope)),
            (name, _) => Err(format!("services takes \"@datacenter\", not {name:?}")),
        }
    }

    /// `service "[tag.]name[?query][@dc][~near]|status,…"`; the parts may be arguments of their own.
    ///
    /// # Errors
    /// As `services`.
    pub fn service(arguments: &[String]) -> Result<Self, String> {
        let whole = arguments.join("|");
        let (left, filters) = whole.split_once('|').unwrap_or((&whole, ""));
        let (name, scope) = Scope::take(left.trim())?;
        let (tag, name) = name.rsplit_once('.').unwrap_or(("", name));
        if name.is_empty() {
            return Err(format!("service {whole:?} has no name"));
        }
        if let Some(odd) = name.chars().find(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("service {whole:?} has {odd:?} in its name"));
        }
        let mut statuses = vec![];
        for word in filters.split([',', '|']).map(str::trim).filter(|w| !w.is_empty()) {
            let status = Status::read(word).ok_or_else(|| {
                format!("{word:?} is no status: passing, warning, critical, maintenance or any")
            })?;
            statuses.push(status);
        }
        if statuses.is_empty() {
            statuses.push(Status::Passing);
        }
        if statuses.contains(&Status::Any) {
            statuses = vec![Status::Any];
        }
        statuses.sort_unstable();
        statuses.dedup();
        Ok(Self::Service { name: name.to_owned(), tag: tag.to_owned(), statuses, scope })
    }

    /// `nodes "@dc~near"`.
    ///
    /// # Errors
    /// As `services`.
    pub fn nodes(argument: &str) -> Result<Self, String> {
        match Scope::take(argument)? {
            ("", scope) => Ok(Self::Nodes(scope)),
            (name, _) => Err(format!("nodes takes \"@datacenter~near\", not {name:?}")),
        }
    }

    /// `node "name@dc"`.
    ///
    /// # Errors
    /// As `services`.
    pub fn node(argument: &str) -> Result<Self, String> {
        let (name, scope) = Scope::take(argument)?;
        Ok(Self::Node((!name.is_empty()).then(|| name.to_owned()), scope))
    }

    /// `key "path@dc"`.
    ///
    /// # Errors
    /// As `services`.
    pub fn key(argument: &str) -> Result<Self, String> {
        let (path, scope) = Scope::take(argument)?;
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            return Err(format!("key {argument:?} has no name"));
        }
        Ok(Self::Key(path.to_owned(), scope))
    }

    /// `ls "prefix@dc"` and `tree`: what is in a folder, which `""` is all.
    ///
    /// # Errors
    /// As `services`.
    pub fn keys(argument: &str) -> Result<Self, String> {
        let (path, scope) = Scope::take(argument)?;
        let path = path.trim_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        Ok(Self::Keys(prefix, scope))
    }

    /// Path and query of the API that answers it, without index, wait and consistency; `None` for
    /// what is no question to a server.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        let (path, mut parameters) = match self {
            Self::Services(scope) => ("/v1/catalog/services".to_owned(), scope.parameters()),
            Self::Service { name, tag, statuses, scope } => {
                let mut parameters = scope.parameters();
                if !tag.is_empty() {
                    parameters.push(("tag".to_owned(), tag.clone()));
                }
                if statuses == &[Status::Passing] {
                    parameters.push(("passing".to_owned(), "1".to_owned()));
                }
                (format!("/v1/health/service/{}", escaped(name, false)), parameters)
            }
            Self::Nodes(scope) => ("/v1/catalog/nodes".to_owned(), scope.parameters()),
            Self::Node(Some(name), scope) => {
                (format!("/v1/catalog/node/{}", escaped(name, false)), scope.parameters())
            }
            Self::Node(None, _) => ("/v1/agent/self".to_owned(), vec![]),
            Self::Datacenters => ("/v1/catalog/datacenters".to_owned(), vec![]),
            Self::Key(key, scope) => (format!("/v1/kv/{}", escaped(key, true)), scope.parameters()),
            Self::Keys(prefix, scope) => {
                let mut parameters = scope.parameters();
                parameters.push(("recurse".to_owned(), String::new()));
                (format!("/v1/kv/{}", escaped(prefix, true)), parameters)
            }
            Self::File(_) => return None,
        };
        let mut out = path;
        for (sign, (key, value)) in
            std::iter::once('?').chain(std::iter::repeat('&')).zip(parameters.drain(..))
        {
            out.push_str(&format!("{sign}{key}={}", escaped(&value, false)));
        }
        Some(out)
    }

    /// Can it be asked to wait for a change? The others are asked again and again.
    #[must_use]
    pub fn blocks(&self) -> bool {
        !matches!(self, Self::Datacenters | Self::Node(None, _) | Self::File(_))
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dc = |scope: &Scope| {
            if scope.dc.is_empty() { String::new() } else { format!("@{}", scope.dc) }
        };
        match self {
            Self::Services(s) => write!(f, "the list of services{}", dc(s)),
            Self::Service { name, tag, scope, .. } if tag.is_empty() => {
                write!(f, "service {name}{}", dc(scope))
            }
            Self::Service { name, tag, scope, .. } => {
                write!(f, "service {tag}.{name}{}", dc(scope))
            }
            Self::Nodes(s) => write!(f, "the list of nodes{}", dc(s)),
            Self::Node(Some(name), s) => write!(f, "node {name}{}", dc(s)),
            Self::Node(None, _) => write!(f, "the agent's own node"),
            Self::Datacenters => write!(f, "the list of datacenters"),
            Self::Key(key, s) => write!(f, "key {key}{}", dc(s)),
            Self::Keys(prefix, s) => write!(f, "keys below {prefix}{}", dc(s)),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// Percent-escaped for a path (`/` stays when it divides) or a query.
#[must_use]
pub fn escaped(text: &str, slashes_stay: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            b'/' if slashes_stay => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_of_service_is_read_whole() {
        for (argument, path) in [
            ("web", "/v1/health/service/web?passing=1"),
            ("v2.1.web", "/v1/health/service/web?tag=v2.1&passing=1"),
            ("http.web@east", "/v1/health/service/web?dc=east&tag=http&passing=1"),
            ("web@east~_agent", "/v1/health/service/web?dc=east&near=_agent&passing=1"),
            ("web?ns=a&peer=b@east", "/v1/health/service/web?dc=east&ns=a&peer=b&passing=1"),
            ("web|any", "/v1/health/service/web"),
            ("web|passing, warning", "/v1/health/service/web"),
            ("tag.name|passing,warning", "/v1/health/service/name?tag=tag"),
            ("a/b", "/v1/health/service/a%2Fb?passing=1"),
        ] {
            let query = Query::service(&[argument.to_owned()]).unwrap();
            assert_eq!(query.path().as_deref(), Some(path), "{argument}");
        }
        let old = Query::service(&["web".into(), "passing,warning".into()]).unwrap();
        assert_eq!(old, Query::service(&["web|warning,passing".into()]).unwrap());
        for wrong in ["", "|any", "tag.", "web|up", "web@", "web?x=1", "a b"] {
            Query::service(&[wrong.to_owned()]).unwrap_err();
        }
    }

    #[test]
    fn keys_nodes_and_lists_have_their_paths() {
        for (query, path) in [
            (Query::key("/a/b c@east"), "/v1/kv/a/b%20c?dc=east"),
            (Query::keys("a/b"), "/v1/kv/a/b/?recurse="),
            (Query::keys("/"), "/v1/kv/?recurse="),
            (Query::keys("a@east"), "/v1/kv/a/?dc=east&recurse="),
            (Query::services("@east"), "/v1/catalog/services?dc=east"),
            (Query::nodes("@east~_agent"), "/v1/catalog/nodes?dc=east&near=_agent"),
            (Query::node("h1"), "/v1/catalog/node/h1"),
            (Query::node(""), "/v1/agent/self"),
            (Ok(Query::Datacenters), "/v1/catalog/datacenters"),
        ] {
            assert_eq!(query.unwrap().path().as_deref(), Some(path));
        }
        Query::key("").unwrap_err();
        Query::services("web").unwrap_err();
        Query::nodes("web").unwrap_err();
        assert_eq!(Query::File("/etc/hosts".into()).path(), None);
    }
}

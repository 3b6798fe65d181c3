//! Prepared queries of clients of Consul: as they were written, and what a host needs of one to answer
//! its name. The cluster keeps them and looks into the second part only.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A prepared query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparedQuery {
    /// A UUID.
    pub id: String,
    /// As the client wrote it, its token too: it is told to no host.
    pub definition: serde_json::Value,
    /// What hosts are told; `None` where its name is answered by none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Arc<QueryNames>>,
}

/// What a host needs of a query to answer its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryNames {
    /// Its name; of a template, how the names begin that it stands for.
    pub name: String,
    /// It stands for every name that begins so, and its texts are filled in.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Its groups are what `${match(1)}` stands for; empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub regexp: String,
    /// Tags that are empty once they are filled in do not count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub remove_empty_tags: bool,
    /// Which service.
    pub service: String,
    /// What warns is left out too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_passing: bool,
    /// The node whose places come first; `_agent` is the host that answers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub near: String,
    /// All have to be there, and none of those that begin with `!`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What the node has to say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_meta: BTreeMap<String, String>,
    /// Seconds that an answer holds; `None` is as the service has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
}

impl QueryNames {
    /// Of a template, the query that it is for a name, which begins as its own; `groups` are those of
    /// `regexp` in that name, the whole first.
    ///
    /// # Errors
    /// What is wrong with one of its texts.
    pub fn filled(&self, name: &str, groups: &[String]) -> Result<Self, String> {
        let fill = |text: &String| fill(text, name, &self.name, groups);
        let mut filled = self.clone();
        filled.service = fill(&self.service)?;
        filled.near = fill(&self.near)?;
        for text in filled.tags.iter_mut().chain(filled.node_meta.values_mut()) {
            *text = fill(text)?;
        }
        if self.remove_empty_tags {
            filled.tags.retain(|tag| !tag.is_empty());
        }
        Ok(filled)
    }
}

/// `${name.full}`, `${name.prefix}`, `${name.suffix}` and `${match(1)}` in a text of a template,
/// filled in for a name. What comes before the suffix is `prefix`, in any case.
///
/// # Errors
/// What in the text is not known.
pub fn fill(text: &str, name: &str, prefix: &str, groups: &[String]) -> Result<String, String> {
    let begins = name.get(..prefix.len()).is_some_and(|own| own.eq_ignore_ascii_case(prefix));
    let suffix = name.get(prefix.len()..).filter(|_| begins).unwrap_or_default();
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let (word, after) =
            behind.split_once('}').ok_or_else(|| format!("{text:?} has a ${{ without its }}"))?;
        out.push_str(before);
        let group = word.strip_prefix("match(").and_then(|n| n.strip_suffix(')'));
        out.push_str(match (word, group) {
            ("name.full", _) => name,
            ("name.prefix", _) => prefix,
            ("name.suffix", _) => suffix,
            ("agent.segment", _) => "",
            (_, Some(n)) => {
                let n: usize = n.parse().map_err(|_nan| format!("{word:?} has no number"))?;
                groups.get(n).map_or("", String::as_str)
            }
            _ => return Err(format!("{text:?}: ${{{word}}} is not known")),
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_template_are_filled_in() {
        let groups = ["geo-web-eu".to_owned(), "web".to_owned()];
        for (text, expect) in [
            ("plain", Ok("plain")),
            ("${name.full}/${name.prefix}/${name.suffix}", Ok("geo-web-eu/GEO-/web-eu")),
            ("${match(1)}-${match(7)}${agent.segment}", Ok("web-")),
            ("${match(x)}", Err("has no number")),
            ("${other}", Err("is not known")),
            ("${name.full", Err("without its }")),
        ] {
            match (fill(text, "geo-web-eu", "GEO-", &groups), expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{text}"),
                (Err(found), Err(expect)) => assert!(found.contains(expect), "{text}: {found}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn tags_that_are_empty_then_do_not_count_where_it_says_so() {
        let query = QueryNames {
            name: "geo-".into(),
            template: true,
            service: "${name.suffix}".into(),
            tags: vec!["${match(1)}".into(), "v1".into()],
            remove_empty_tags: true,
            ..QueryNames::default()
        };
        let filled = query.filled("geo-web", &[]).unwrap();
        assert_eq!(
            (filled.service.as_str(), filled.tags.as_slice()),
            ("web", &["v1".to_owned()][..])
        );
    }
}

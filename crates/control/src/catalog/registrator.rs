//! What the labels and variables of Registrator make of a container: which services it offers, with
//! which names, tags, words and checks.

use model::limits::{CATALOG_META_MAX, CATALOG_TAGS_MAX, CATALOG_WORD_BYTES_MAX};
use model::plain::is_told;
use model::service::Transport;
use std::collections::BTreeMap;

const PREFIX: &str = "SERVICE_";

/// A port at which a container offers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offered {
    /// Inside: labels name it by this one.
    pub container_port: u16,
    /// Where clients call.
    pub port: u16,
    /// tcp or udp.
    pub protocol: Transport,
}

/// One service of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The id that was asked for; `None` leaves it to us.
    pub id: Option<String>,
    /// Tags in the order in which they are written.
    pub tags: Vec<String>,
    /// All other keys.
    pub meta: BTreeMap<String, String>,
    /// The share of traffic that was asked for.
    pub weight: Option<u16>,
    /// The check that was asked for, by the keys of Registrator without `check_`.
    pub check: BTreeMap<String, String>,
    /// At which port.
    pub offered: Offered,
}

/// The words of a container that Registrator reads: variables that may leave a host, and labels
/// above them.
#[must_use]
pub fn words(
    variables: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let told = variables.iter().filter(|(key, _)| is_told(key));
    let both = told.chain(labels);
    let ours = both.filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
    let ours = ours.filter(|(key, value)| {
        !key.is_empty() && key.len().max(value.len()) <= CATALOG_WORD_BYTES_MAX
    });
    ours.map(|(key, value)| (key.to_ascii_lowercase(), value.clone())).collect()
}

/// What a container with these words offers at these ports. `image` gives the name when no word
/// does; a port that is to be ignored is left out.
#[must_use]
pub fn services(words: &BTreeMap<String, String>, image: &str, ports: &[Offered]) -> Vec<Named> {
    let several = ports.len() > 1;
    ports.iter().filter_map(|port| service(words, image, *port, several)).collect()
}

fn service(
    words: &BTreeMap<String, String>,
    image: &str,
    offered: Offered,
    several: bool,
) -> Option<Named> {
    let mut mine = of_port(words, offered.container_port);
    if mine.own.remove("ignore").or_else(|| mine.all.get("ignore").cloned()).is_some_and(says_yes) {
        return None;
    }
    let own_name = mine.own.get("name").cloned();
    let base = mine.all.get("name").cloned().unwrap_or_else(|| base_name(image));
    let name = match own_name {
        Some(name) => name,
        None if several => format!("{base}-{}", offered.container_port),
        None => base,
    };
    let mut rest = mine.all;
    rest.extend(mine.own);
    rest.retain(|key, _| key != "name" && key != "ignore");
    let id = rest.remove("id").filter(|id| !id.is_empty());
    let mut tags = tags(&rest.remove("tags").unwrap_or_default());
    if offered.protocol == Transport::Udp && !tags.iter().any(|tag| tag == "udp") {
        tags.push("udp".into());
    }
    let weight = rest.get("weight").and_then(|text| text.trim().parse().ok());
    let check = rest
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("check_")?.to_owned(), value.clone())));
    let check = check.collect();
    let meta = rest.into_iter().take(CATALOG_META_MAX).collect();
    let name = clean(&name)?;
    Some(Named { name, id, tags, meta, weight, check, offered })
}

/// Words of all ports, and of one.
struct Words {
    all: BTreeMap<String, String>,
    own: BTreeMap<String, String>,
}

fn of_port(words: &BTreeMap<String, String>, port: u16) -> Words {
    let mut all = BTreeMap::new();
    let mut own = BTreeMap::new();
    for (key, value) in words {
        let split = key.split_once('_').and_then(|(n, key)| Some((n.parse::<u16>().ok()?, key)));
        match split {
            Some((n, key)) if n == port => drop(own.insert(key.to_owned(), value.clone())),
            Some(_) => {}
            None => drop(all.insert(key.clone(), value.clone())),
        }
    }
    Words { all, own }
}

/// Registrator took every value for a yes, `false` too; nobody who writes `false` means that.
fn says_yes(value: String) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "false" | "no")
}

/// Tags between commas; `\,` is a comma in a tag.
fn tags(text: &str) -> Vec<String> {
    let mut tags = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some(',')) => {
                letters.next();
                tags.last_mut().expect("one is there").push(',');
            }
            (',', _) => tags.push(String::new()),
            _ => tags.last_mut().expect("one is there").push(letter),
        }
    }
    let tags = tags.into_iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty());
    tags.take(CATALOG_TAGS_MAX).collect()
}

/// `registry.example/team/web:1.2@sha256:…` is `web`.
fn base_name(image: &str) -> String {
    let path = image.split('@').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default().to_owned()
}

/// A name that can stand in a path and in a message; `None` when nothing is left of it.
fn clean(name: &str) -> Option<String> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    let name = name.replace('/', "-");
    (!name.is_empty() && name.len() <= CATALOG_WORD_BYTES_MAX).then_some(name)
}

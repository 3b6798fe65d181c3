//! Names of services in the /etc/hosts of containers, so that they work with no DNS at all: which
//! lines each has is made by a pure function from what this host serves; one task writes them when
//! they differ. It writes no file but Docker's own.

use model::dns::LABEL_HOSTS_FILE;
use model::limits::{HOSTS_ADDRESSES_MAX, HOSTS_BLOCK_BYTES_MAX, HOSTS_RETRY_MS};
use model::time::Timestamp;
use model::view::Caller;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Name of the metadata, which is nobody's service.
const METADATA: &str = "rancher-metadata";

/// The file of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Docker's file behind its /etc/hosts.
    pub(crate) path: PathBuf,
    /// Docker writes it anew with each start.
    pub(crate) run: Option<Timestamp>,
    /// Our lines; none takes them away.
    pub(crate) lines: Arc<Vec<String>>,
}

/// By Docker's id.
pub(crate) type Wish = BTreeMap<String, Wanted>;

/// Does this container have names in its file?
pub(crate) fn is_on(of_all: bool, labels: &BTreeMap<String, String>) -> bool {
    match labels.get(LABEL_HOSTS_FILE).map(String::as_str) {
        Some("true") => true,
        Some("false") => false,
        _ => of_all,
    }
}

/// The lines of one container: the services of its stack and those that it is linked to, by all
/// names that DNS would know them by; of one without a stack all services. `names` are addresses by
/// name, `zone` is what names end with.
pub(crate) fn lines(
    names: &BTreeMap<String, Vec<Ipv4Addr>>,
    zone: &str,
    caller: Option<&Caller>,
) -> Vec<String> {
    let stack = caller.map(|caller| format!(".{}", caller.service.stack));
    let is_mine = |name: &str| match &stack {
        Some(stack) => name.ends_with(stack.as_str()),
        None => name.contains('.'),
    };
    let aliases = caller.into_iter().flat_map(|caller| &caller.aliases);
    let whole = |name: &str| format!("{name}.{zone}");
    let aliases = aliases.map(|(alias, meant)| (meant.as_str(), vec![alias.clone(), whole(alias)]));
    let mine = names.keys().filter(|name| is_mine(name) || *name == METADATA);
    let search = caller.map(|caller| caller.search.as_slice()).unwrap_or_default();
    let own = mine.map(|name| {
        let texts = shorter(name, zone, search).into_iter();
        (name.as_str(), texts.chain([name.clone(), whole(name)]).collect())
    });
    let mut taken = BTreeSet::new();
    let (mut out, mut bytes) = (vec![], 0);
    for (meant, texts) in aliases.chain(own) {
        let addresses = names.get(meant).map(Vec::as_slice).unwrap_or_default();
        let free = texts.into_iter().filter(|text| is_name(text) && taken.insert(text.clone()));
        let words = free.collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            continue;
        }
        for address in addresses.iter().take(HOSTS_ADDRESSES_MAX) {
            let line = format!("{address}\t{words}");
            bytes += line.len() + 1;
            if bytes > HOSTS_BLOCK_BYTES_MAX {
                return out;
            }
            out.push(line);
        }
    }
    out
}

/// What is left of a name before each end that the search list of a container has.
fn shorter(name: &str, zone: &str, search: &[String]) -> Vec<String> {
    let mut texts = vec![];
    for domain in search {
        let end = domain.strip_suffix(zone).map(|end| end.trim_end_matches('.'));
        let short = end.filter(|end| !end.is_empty()).and_then(|end| name.strip_suffix(end));
        if let Some(short) = short.and_then(|short| short.strip_suffix('.'))
            && !texts.iter().any(|known| known == short)
        {
            texts.push(short.to_owned());
        }
    }
    texts
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Writes what differs, until nobody wishes any more.
pub(crate) async fn keep(mut wish: watch::Receiver<Wish>) {
    let mut written = Wish::new();
    let mut failed = BTreeSet::new();
    loop {
        let wanted = wish.borrow_and_update().clone();
        written.retain(|id, _| wanted.contains_key(id));
        failed.retain(|id| wanted.contains_key(id));
        let mut again = false;
        for (id, one) in wanted {
            if written.get(&id) == Some(&one) {
                continue;
            }
            let (path, lines) = (one.path.clone(), Arc::clone(&one.lines));
            let put = move || network::names_in_hosts(&path, &lines);
            let put = tokio::task::spawn_blocking(put).await;
            match put
                .map_err(|e| e.to_string())
                .and_then(|put| put.map_err(|e| api::error::chain(&e)))
            {
                Ok(changed) => {
                    if changed {
                        tracing::debug!(
                            container = id,
                            names = one.lines.len(),
                            "hosts file written"
                        );
                    }
                    failed.remove(&id);
                    written.insert(id, one);
                }
                Err(error) => {
                    again = true;
                    if failed.insert(id.clone()) {
                        tracing::warn!(container = id, error, "hosts file not written");
                    }
                }
            }
        }
        let pause = async {
            match again {
                true => tokio::time::sleep(Duration::from_millis(HOSTS_RETRY_MS)).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = wish.changed() => if changed.is_err() { return },
            () = pause => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[(&str, &[u8])]) -> BTreeMap<String, Vec<Ipv4Addr>> {
        let addresses = |ends: &[u8]| ends.iter().map(|n| Ipv4Addr::new(10, 42, 0, *n)).collect();
        all.iter().map(|(name, ends)| ((*name).to_owned(), addresses(ends))).collect()
    }

    fn caller(aliases: &[(&str, &str)]) -> Caller {
        let search = ["web.shop.rancher.internal", "shop.rancher.internal", "rancher.internal"];
        let aliases = aliases.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Caller {
            service: "shop/web".parse().unwrap(),
            search: search.map(str::to_owned).to_vec(),
            aliases: aliases.collect(),
            servers: vec![],
        }
    }

    #[test]
    fn a_container_has_the_services_of_its_stack_and_those_that_it_is_linked_to() {
        let all = names(&[
            ("api.shop", &[2, 3]),
            ("log.web.shop", &[4]),
            ("db.other", &[5]),
            ("mail.other", &[6]),
            ("sick.shop", &[]),
            ("shop-api-1", &[2]),
            ("rancher-metadata", &[250]),
            ("bad name.shop", &[7]),
        ]);
        let who = caller(&[("pg", "db.other"), ("gone", "none.other")]);
        let zone = "rancher.internal";
        assert_eq!(
            lines(&all, zone, Some(&who)),
            [
                "10.42.0.5\tpg pg.rancher.internal",
                "10.42.0.2\tapi api.shop api.shop.rancher.internal",
                "10.42.0.3\tapi api.shop api.shop.rancher.internal",
                "10.42.0.4\tlog log.web log.web.shop log.web.shop.rancher.internal",
                "10.42.0.250\trancher-metadata rancher-metadata.rancher.internal",
            ]
        );
        // What the container alone knows goes before what everybody knows.
        let own = lines(&all, zone, Some(&caller(&[("api", "db.other")])));
        assert!(own[0].starts_with("10.42.0.5\tapi api.rancher.internal"), "{own:?}");
        assert!(own[1].starts_with("10.42.0.2\tapi.shop api.shop.rancher.internal"), "{own:?}");
        // One without a stack.
        let plain = lines(&all, zone, None);
        assert_eq!(plain[0], "10.42.0.2\tapi.shop api.shop.rancher.internal");
        assert!(plain.iter().any(|line| line.contains("mail.other")), "{plain:?}");
    }

    #[test]
    fn there_is_an_end_to_the_names_and_their_addresses() {
        let ends: Vec<u8> = (1..=40).collect();
        let all = names(&[("api.shop", &ends)]);
        assert_eq!(lines(&all, "rancher.internal", None).len(), HOSTS_ADDRESSES_MAX);
        let many: BTreeMap<String, Vec<Ipv4Addr>> =
            (0..9_000).map(|n| (format!("s{n}.shop"), vec![Ipv4Addr::new(10, 42, 0, 1)])).collect();
        let bytes: usize = lines(&many, "z", None).iter().map(|line| line.len() + 1).sum();
        assert!((HOSTS_BLOCK_BYTES_MAX / 2..=HOSTS_BLOCK_BYTES_MAX).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_label_goes_before_the_environment() {
        let labels = |value: &str| [(LABEL_HOSTS_FILE.to_owned(), value.to_owned())].into();
        for (of_all, value, expect) in
            [(false, "true", true), (true, "false", false), (true, "x", true), (false, "", false)]
        {
            assert_eq!(is_on(of_all, &labels(value)), expect, "{of_all} {value}");
        }
    }
}

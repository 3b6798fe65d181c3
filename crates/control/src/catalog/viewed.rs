//! The catalog as a host knows it from its view: what it can still say while there is no server.
//! What views do not carry (meta of entries, words of checks) is not there.

use super::{Catalog, Check, CheckStatus, Entry, NODE_CHECK, Node, Origin, Weights};
use model::catalog_view::{CatalogNode, CatalogView, Fitness, Offer};
use model::id::HostId;
use model::metadata::uuid;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The catalog of a view of this environment.
#[must_use]
pub fn of_view(environment: &str, view: &CatalogView) -> Catalog {
    let mut all = Catalog::default();
    for (name, node) in &view.nodes {
        all.nodes.insert(name.clone(), Arc::new(self::node(environment, name, node)));
    }
    for (key, offer) in view.services.values().flat_map(|offers| offers.iter()) {
        let mut parts = key.splitn(3, '\n');
        let (Some(service), Some(_), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if all.nodes.contains_key(&offer.node) {
            let at = (offer.node.clone(), id.to_owned());
            let entry = Arc::new(entry(service, id, offer));
            all.services.entry(service.to_owned()).or_default().insert(at, entry);
        }
    }
    all
}

fn status(fitness: Fitness) -> CheckStatus {
    match fitness {
        Fitness::Passing => CheckStatus::Passing,
        Fitness::Warning => CheckStatus::Warning,
        Fitness::Critical => CheckStatus::Critical,
    }
}

fn check(id: String, name: String, fitness: Fitness) -> Check {
    let output = "as it was when the server was last heard".to_owned();
    Check { id, name, status: status(fitness), output, ..Check::default() }
}

fn node(environment: &str, name: &str, node: &CatalogNode) -> Node {
    let kinds = ["lan", "lan_ipv4", "wan", "wan_ipv4"];
    Node {
        name: name.to_owned(),
        id: uuid(environment, "node", name),
        address: node.address.clone(),
        tagged_addresses: kinds.map(|kind| (kind.to_owned(), node.address.clone())).into(),
        meta: node.meta.clone(),
        host: HostId::parse(name).ok(),
        checks: vec![check(NODE_CHECK.into(), "Serf Health Status".into(), node.fitness)],
    }
}

fn entry(service: &str, id: &str, offer: &Offer) -> Entry {
    Entry {
        node: offer.node.clone(),
        id: id.to_owned(),
        service: service.to_owned(),
        tags: offer.tags.clone(),
        address: offer.address.clone(),
        port: offer.port,
        meta: BTreeMap::new(),
        weights: Weights { passing: offer.passing, warning: offer.warning },
        tagged: BTreeMap::new(),
        tag_override: false,
        origin: offer.instance.clone().map_or(Origin::Client, Origin::Instance),
        checks: vec![check(
            format!("service:{id}"),
            format!("Service '{service}' check"),
            offer.fitness,
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_view_says_is_a_catalog() {
        let node = CatalogNode { address: "10.0.0.1".into(), ..CatalogNode::default() };
        let offer = |node: &str, fitness| {
            let tags = vec!["v1".to_owned()];
            Arc::new(Offer { node: node.into(), port: 80, tags, fitness, ..Offer::default() })
        };
        let offers = [
            ("Web\nh1\nh1:a:80".to_owned(), offer("h1", Fitness::Critical)),
            ("Web\nh9\nh9:a:80".to_owned(), offer("h9", Fitness::Passing)),
            ("broken".to_owned(), offer("h1", Fitness::Passing)),
        ];
        let view = CatalogView {
            nodes: [("h1".to_owned(), Arc::new(node))].into(),
            services: [("web".to_owned(), Arc::new(offers.into()))].into(),
            ..CatalogView::default()
        };
        let catalog = of_view("e", &view);
        assert_eq!(catalog.services.keys().collect::<Vec<_>>(), ["Web"]);
        let entry = &catalog.services["Web"][&("h1".to_owned(), "h1:a:80".to_owned())];
        assert_eq!(catalog.services["Web"].len(), 1, "of a node that is there");
        assert_eq!((entry.port, entry.checks[0].status), (80, CheckStatus::Critical));
        assert_eq!(catalog.nodes["h1"].checks[0].id, NODE_CHECK);
    }
}

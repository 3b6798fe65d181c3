//! What this host knows of the catalog by its view: read while there is no server.

use ::consul::{Answer, Catalog, Facts, Request};
use control::catalog::of_view;
use model::catalog_view::CatalogView;
use model::consul_access::AclMode;
use model::time::Index;
use model::view::HostView;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The newest view, and its catalog as clients read it, written when it is first asked for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    view: watch::Receiver<Option<Arc<HostView>>>,
    /// Held for a look or for writing, never across an await.
    shown: Arc<Mutex<Option<(Index, Catalog)>>>,
}

impl Known {
    pub(super) fn new(view: watch::Receiver<Option<Arc<HostView>>>) -> Self {
        Self { view, shown: Arc::default() }
    }

    /// The name of this host as a node; empty before its first view.
    pub(super) fn node(&self) -> String {
        self.view.borrow().as_ref().map(|view| view.host.to_string()).unwrap_or_default()
    }

    /// Answers a read of the catalog; `None` when this host does not know.
    pub(super) async fn answer(&self, request: &Request) -> Option<Answer> {
        let view = self.view.borrow().clone()?;
        // Which rights a token has is known to the server only.
        if view.catalog.access.acl != AclMode::Off {
            return None;
        }
        if !knows(&view.catalog, &request.path) {
            return None;
        }
        let address = view.catalog.nodes.get(view.host.as_str());
        let address = address.and_then(|node| node.address.parse().ok());
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let facts = Facts { node: view.host.to_string(), address };
        self.shown(&view).alone(request, &facts).await
    }

    fn shown(&self, view: &HostView) -> Catalog {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shown {
            Some((index, catalog)) if *index == view.index => catalog.clone(),
            _ => {
                let catalog = Catalog::default();
                catalog.show(&of_view(&view.environment, &view.catalog), view.index);
                *shown = Some((view.index, catalog.clone()));
                catalog
            }
        }
    }
}

/// Does the view say what is asked? Without a domain it has no catalog, and in a large environment it
/// has only the services that were asked for here.
fn knows(catalog: &CatalogView, path: &str) -> bool {
    if catalog.settings.domain.is_empty() || catalog.nodes.is_empty() {
        return false;
    }
    let of_service = ["health/service/", "health/checks/", "catalog/service/"];
    let service = of_service.iter().find_map(|prefix| path.strip_prefix(prefix));
    catalog.elsewhere.is_empty()
        || service.is_some_and(|name| catalog.services.contains_key(&name.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::catalog_view::{CatalogNode, Offer, Offers};
    use model::id::HostId;

    fn view(elsewhere: &[&str]) -> HostView {
        let offer = Offer { node: "h1".into(), port: 80, ..Offer::default() };
        let offers: Offers = [("web\nh1\nh1:a:80".to_owned(), Arc::new(offer))].into();
        let node = CatalogNode { address: "10.0.0.1".into(), ..CatalogNode::default() };
        let mut catalog = CatalogView {
            nodes: [("h1".to_owned(), Arc::new(node))].into(),
            services: [("web".to_owned(), Arc::new(offers))].into(),
            elsewhere: elsewhere.iter().map(|name| (*name).to_owned()).collect(),
            ..CatalogView::default()
        };
        catalog.settings.domain = "consul".into();
        let host: HostId = "h1".parse().unwrap();
        let empty = HostView::empty("e", &host);
        HostView { index: Index(7), catalog: Arc::new(catalog), ..empty }
    }

    async fn ask(known: &Known, path: &str) -> Option<String> {
        let uri = format!("/v1/{path}");
        let request = http::Request::builder().uri(uri).body(()).unwrap();
        let parts = request.into_parts().0;
        let request = Request::read(&parts, bytes::Bytes::new(), "h1").unwrap();
        let answer = known.answer(&request).await?;
        assert_eq!(answer.headers.get("x-consul-knownleader").unwrap(), "false");
        Some(String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_the_view_says_is_answered_and_what_it_cannot_know_is_not() {
        let (to, from) = watch::channel(None);
        let known = Known::new(from);
        assert_eq!(ask(&known, "health/service/web").await, None, "before the first view");
        to.send_replace(Some(Arc::new(view(&[]))));
        assert_eq!(known.node(), "h1");
        assert!(ask(&known, "health/service/web?passing").await.unwrap().contains("h1:a:80"));
        assert_eq!(ask(&known, "health/service/none").await.as_deref(), Some("[]"));
        assert_eq!(ask(&known, "health/service/web?consistent").await, None);
        assert_eq!(ask(&known, "kv/a").await, None);
        let mut next = view(&["none"]);
        next.index = Index(8);
        to.send_replace(Some(Arc::new(next)));
        assert!(ask(&known, "health/service/web").await.is_some());
        assert_eq!(
            ask(&known, "health/service/none").await,
            None,
            "it exists, and is not known here"
        );
        assert_eq!(ask(&known, "catalog/services").await, None);
    }

    #[tokio::test]
    async fn while_tokens_are_asked_for_nothing_is_answered_without_a_server() {
        for (acl, answered) in
            [(AclMode::Off, true), (AclMode::Allow, false), (AclMode::Deny, false)]
        {
            let mut view = view(&[]);
            Arc::make_mut(&mut view.catalog).access.acl = acl;
            let (_to, from) = watch::channel(Some(Arc::new(view)));
            let known = Known::new(from);
            let found = ask(&known, "health/service/web").await;
            assert_eq!(found.is_some(), answered, "{acl:?}");
        }
    }
}

//! Views as they go down to a dataplane: the metadata goes apart, and of that only what has changed.
//! What is left of a view goes only when it is another one.

use super::{FromAgent, MetaUpdate};
use model::metadata::{MetaDelta, MetaView};
use model::view::HostView;
use std::sync::Arc;

/// What was sent on one connection.
#[derive(Debug, Default)]
pub(crate) struct Split {
    last: Option<Arc<HostView>>,
}

fn bare(view: &Arc<HostView>) -> Arc<HostView> {
    if view.meta.is_empty() {
        return Arc::clone(view);
    }
    Arc::new(HostView { meta: MetaView::default(), ..HostView::clone(view) })
}

/// Is all else the same but for the index?
fn is_alone(old: &HostView, new: &HostView) -> bool {
    // Named one by one, so that nothing that a view gets is forgotten here.
    let HostView {
        format,
        environment,
        host,
        index: _,
        dns,
        callers,
        instances,
        upstreams,
        listeners,
        floating,
        checks,
        catalog,
        meta: _,
        partial,
    } = old;
    (format, environment, host, partial) == (&new.format, &new.environment, &new.host, &new.partial)
        && (dns, callers, instances) == (&new.dns, &new.callers, &new.instances)
        && (upstreams, listeners, floating) == (&new.upstreams, &new.listeners, &new.floating)
        && (checks, catalog) == (&new.checks, &new.catalog)
}

impl Split {
    /// What to send of this view to a dataplane that knows of metadata, or to one that does not.
    pub(crate) fn messages(
        &mut self,
        view: &Arc<HostView>,
        takes_metadata: bool,
    ) -> Vec<FromAgent> {
        if !takes_metadata {
            return vec![FromAgent::View(bare(view))];
        }
        let last = self.last.replace(Arc::clone(view));
        let delta = last.as_ref().and_then(|last| MetaDelta::between(&last.meta, &view.meta));
        let alone = delta.is_some() && last.is_some_and(|last| is_alone(&last, view));
        let whole = delta.is_none().then(|| view.meta.clone());
        let delta = delta.unwrap_or_default();
        let mut messages = vec![];
        // Who begins with a view that it makes known asks for metadata at once.
        if alone || whole.is_some() || !delta.is_empty() {
            let (host, index) = (view.host.clone(), view.index);
            messages.push(FromAgent::Meta(Box::new(MetaUpdate {
                host,
                index,
                alone,
                whole,
                delta,
            })));
        }
        if !alone {
            messages.push(FromAgent::View(bare(view)));
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::metadata::MetaHost;
    use model::time::Index;

    fn view(index: u64, hosts: &[&str], zone: &str) -> Arc<HostView> {
        let mut view = HostView::empty("e", &"a".parse().unwrap());
        view.index = Index(index);
        Arc::make_mut(&mut view.dns).zones.push(zone.to_owned());
        for id in hosts {
            view.meta.hosts.insert_mut(id.parse().unwrap(), Arc::new(MetaHost::default()));
        }
        Arc::new(view)
    }

    /// What goes down, in words.
    fn words(messages: &[FromAgent]) -> Vec<String> {
        let word = |message: &FromAgent| match message {
            FromAgent::View(view) => format!("view {} meta {}", view.index, !view.meta.is_empty()),
            FromAgent::Meta(update) => {
                let whole = update.whole.as_ref().map(|whole| whole.hosts.size());
                let (alone, changed) = (update.alone, update.delta.entries());
                format!("meta {} alone {alone} whole {whole:?} changed {changed}", update.index)
            }
            other => format!("{other:?}"),
        };
        messages.iter().map(word).collect()
    }

    #[test]
    fn metadata_goes_apart_and_only_what_changed_goes() {
        let mut split = Split::default();
        let mut say = |view: &Arc<HostView>| words(&split.messages(view, true));
        assert_eq!(
            say(&view(1, &["a", "b"], "z")),
            ["meta 1 alone false whole Some(2) changed 0", "view 1 meta false"]
        );
        assert_eq!(
            say(&view(2, &["a", "b", "c"], "z")),
            ["meta 2 alone true whole None changed 1"],
            "no view follows"
        );
        assert_eq!(say(&view(3, &["a", "b", "c"], "y")), ["view 3 meta false"]);
        assert_eq!(
            say(&view(4, &["c"], "x")),
            ["meta 4 alone false whole None changed 2", "view 4 meta false"]
        );
        assert_eq!(say(&view(5, &["c"], "x")), ["meta 5 alone true whole None changed 0"]);
        let with = |index, change: fn(&mut HostView)| {
            let mut changed = HostView::clone(&view(index, &["c"], "x"));
            change(&mut changed);
            Arc::new(changed)
        };
        let named = with(6, |view| Arc::make_mut(&mut view.catalog).settings.domain = "x".into());
        assert_eq!(say(&named), ["view 6 meta false"], "names of Consul are in the view");
        let old = words(&Split::default().messages(&view(6, &["c"], "x"), false));
        assert_eq!(old, ["view 6 meta false"], "one of an older version");
    }
}

//! What is said when somebody asks for a thing that is not there: its nearest namesake.

use api::error::ErrorInfo;
use model::cluster::Cluster;

/// The nearest of the names, when it is near enough to be a typing error.
fn nearest(wanted: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let rated = names.map(|name| (strsim::damerau_levenshtein(wanted, &name), name));
    let (distance, name) = rated.min()?;
    (distance <= (wanted.len() / 3).clamp(1, 4)).then_some(name)
}

/// There is no such stack.
pub(super) fn stack(cluster: &Cluster, wanted: &str) -> ErrorInfo {
    let hint = match nearest(wanted, cluster.stacks().map(|s| s.name.to_string())) {
        Some(name) => format!("did you mean {name}?"),
        None => "see `remuda ls`".to_owned(),
    };
    ErrorInfo::not_found(format!("there is no stack {wanted}")).hint(hint)
}

/// There is no such service, or not even its stack.
pub(super) fn service(cluster: &Cluster, of: &str, wanted: &str) -> ErrorInfo {
    if !cluster.stacks().any(|s| s.name.as_str() == of) {
        return stack(cluster, of);
    }
    let services = cluster.services().filter(|s| s.id.stack.as_str() == of);
    let hint = match nearest(wanted, services.map(|s| s.id.service.to_string())) {
        Some(name) => format!("did you mean {of}/{name}?"),
        None => format!("see `remuda ps {of}`"),
    };
    ErrorInfo::not_found(format!("there is no service {of}/{wanted}")).hint(hint)
}

/// There is no such host.
pub(super) fn host(cluster: &Cluster, wanted: &str) -> ErrorInfo {
    let hint = match nearest(wanted, cluster.hosts().map(|host| host.id.to_string())) {
        Some(name) => format!("did you mean {name}?"),
        None => "see `remuda host ls`".to_owned(),
    };
    ErrorInfo::not_found(format!("there is no host {wanted}")).hint(hint)
}

/// There is no container of it, and why: no stack, no service, or nothing that has one.
/// `missing` begins the message about a thing that is there.
pub(super) fn container(
    cluster: &Cluster,
    of: &str,
    wanted: &str,
    n: u32,
    missing: &str,
) -> ErrorInfo {
    let is_it =
        |s: &model::record::Service| s.id.stack.as_str() == of && s.id.service.as_str() == wanted;
    let what = match (wanted.is_empty(), n) {
        (true, _) if !cluster.stacks().any(|s| s.name.as_str() == of) => return stack(cluster, of),
        (true, _) => of.to_owned(),
        (false, _) if !cluster.services().any(|s| is_it(s)) => return service(cluster, of, wanted),
        (false, 0) => format!("{of}/{wanted}"),
        (false, n) => format!("{of}/{wanted}#{n}"),
    };
    ErrorInfo::not_found(format!("{missing} {what}")).hint(format!("see `remuda ps {of}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_has_a_nearest_name_and_a_strange_one_has_none() {
        let names = || ["web", "backend"].map(str::to_owned).into_iter();
        assert_eq!(nearest("wbe", names()).as_deref(), Some("web"));
        assert_eq!(nearest("bakend", names()).as_deref(), Some("backend"));
        assert_eq!(nearest("database", names()), None);
        assert_eq!(nearest("web", std::iter::empty()), None);
    }
}

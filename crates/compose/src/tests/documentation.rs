//! `docs/compose.md` says of every key what becomes of it: its tables are made from the table that
//! the reader itself works by.

use crate::{KeyInfo, Scope, Status, keys};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- from the table of keys: REMUDA_WRITE_DOCS=1 cargo test -p compose -->\n";

fn heading(scope: Scope) -> &'static str {
    match scope {
        Scope::Top => "At top level",
        Scope::Service => "In a service",
        Scope::Build => "`build`",
        Scope::Port => "`ports`, long form",
        Scope::Mount => "`volumes` of a service, long form",
        Scope::MountBind => "`bind` of a mount",
        Scope::MountVolume => "`volume` of a mount",
        Scope::MountTmpfs => "`tmpfs` of a mount",
        Scope::FileUse => "`secrets` and `configs` of a service, long form",
        Scope::Template => "`templates`",
        Scope::EnvFile => "`env_file`, long form",
        Scope::DependsOn => "`depends_on`, long form",
        Scope::Extends => "`extends`",
        Scope::Healthcheck => "`healthcheck` (Docker's)",
        Scope::HealthCheck => "`health_check` (Rancher's)",
        Scope::Quorum => "`recreate_on_quorum_strategy_config`",
        Scope::Logging => "`logging`",
        Scope::Ulimit => "`ulimits`, long form",
        Scope::NetworkUse => "`networks` of a service, long form",
        Scope::Deploy => "`deploy`",
        Scope::DeployResources => "`deploy.resources`",
        Scope::ResourceLimits => "`deploy.resources.limits`",
        Scope::ResourceReservations => "`deploy.resources.reservations`",
        Scope::DeployRestart => "`deploy.restart_policy`",
        Scope::DeployUpdate => "`deploy.update_config`",
        Scope::DeployPlacement => "`deploy.placement`",
        Scope::Preference => "`deploy.placement.preferences`",
        Scope::UpgradeStrategy => "`upgrade_strategy`",
        Scope::ScalePolicy => "`scale_policy`",
        Scope::Autoscale => "`autoscale`",
        Scope::Schedule => "`schedule` and `job`",
        Scope::Rollout => "`rollout`",
        Scope::OnLoss => "`on_loss`, long form",
        Scope::FloatingIp => "`floating_ip`, long form",
        Scope::Placement => "`placement`",
        Scope::LbConfig => "`lb_config`",
        Scope::PortRule => "`lb_config.port_rules`",
        Scope::Volume => "A volume at top level",
        Scope::File => "A secret or config at top level",
        Scope::Network => "A network at top level",
        Scope::External => "`external`",
        Scope::Label => "Labels `io.rancher.*`",
    }
}

/// Words in lines of at most a hundred columns.
fn folded(words: &[String]) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in words {
        if column > 0 && column + 1 + word.len() > 100 {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

fn tables() -> String {
    let mut scopes: BTreeMap<Scope, Vec<&KeyInfo>> = BTreeMap::new();
    for key in keys() {
        scopes.entry(key.scope).or_default().push(key);
    }
    let mut out = String::new();
    for (scope, keys) in scopes {
        write!(out, "\n### {}\n\n", heading(scope)).unwrap();
        let is_done = |key: &&&KeyInfo| key.status == Status::Done;
        let done: Vec<String> =
            keys.iter().filter(is_done).map(|key| format!("`{}`", key.name)).collect();
        if !done.is_empty() {
            writeln!(out, "{}", folded(&done)).unwrap();
        }
        let later = keys.iter().filter_map(|key| match key.status {
            Status::Later(note) => Some((key.name, note)),
            Status::Done => None,
        });
        let rows: Vec<String> =
            later.map(|(name, note)| format!("| `{name}` | {note} |")).collect();
        if !rows.is_empty() {
            let gap = if done.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}| not yet | what happens |\n|---|---|\n{}", rows.join("\n"))
                .unwrap();
        }
    }
    out
}

#[test]
fn the_document_says_what_becomes_of_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compose.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (prose, _) = text.split_once(BEGIN).expect("the mark is in the document");
    let expect = format!("{prose}{BEGIN}{}", tables());
    if std::env::var_os("REMUDA_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expect).unwrap();
        return;
    }
    assert!(
        text == expect,
        "docs/compose.md is not as the table of keys: REMUDA_WRITE_DOCS=1 cargo test -p compose"
    );
}

//! `remuda template` and `remuda confd` as they are used: the built binary against a server with
//! true blocking queries. Needs neither root nor Docker.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "templates/child.rs"]
mod child;
#[path = "templates/confd.rs"]
mod confd;
// It serves by axum, and writes values in base64.
#[path = "../../template/tests/fake/mod.rs"]
mod fake;
#[path = "templates/following.rs"]
mod following;
#[path = "templates/once.rs"]
mod once;
#[path = "templates/trouble.rs"]
mod trouble;
#[path = "templates/tool.rs"]
mod tool;

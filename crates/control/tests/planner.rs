//! The planner in tables: what is asked and seen goes in as words, what is decided comes out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "planner/audits.rs"]
mod audits;
#[path = "planner/changes.rs"]
mod changes;
#[path = "planner/placing.rs"]
mod placing;
#[path = "planner/policy.rs"]
mod policy;
#[path = "planner/properties.rs"]
mod properties;
#[path = "planner/reactions.rs"]
mod reactions;
#[path = "planner/rollouts.rs"]
mod rollouts;
#[path = "planner/told.rs"]
mod told;
#[path = "planner/views.rs"]
mod views;
#[path = "planner/words.rs"]
mod words;
#[path = "planner/world.rs"]
mod world;
#[path = "planner/external.rs"]
mod external;
#[path = "planner/hosts.rs"]
mod hosts;
#[path = "planner/images.rs"]
mod images;
#[path = "planner/jobs.rs"]
mod jobs;
#[path = "planner/metadata.rs"]
mod metadata;
#[path = "planner/names.rs"]
mod names;
#[path = "planner/plain.rs"]
mod plain;
#[path = "planner/rancher.rs"]
mod rancher;
#[path = "planner/verbs.rs"]
mod verbs;

//! One template under way: when it is due, what it asked for, what it waits for, and how its text
//! gets to its place.

use crate::command;
use crate::error::Error;
use crate::functions::Dialect;
use crate::program::{Program, Reading};
use crate::query::Query;
use crate::quiet::{Quiet, Wait};
use crate::scene::{Missing, View};
use crate::settings::{Settings, Source, Template};
use crate::write::{self, Wish};
use model::limits::TEMPLATE_FILE_BYTES_MAX;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

/// What came of a render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The file is new or differs.
    Changed,
    /// It is as it was.
    Same,
    /// Something is missing.
    Waits,
}

/// One template.
pub(super) struct Entry {
    pub(super) template: Template,
    pub(super) quiet: Quiet,
    /// What it asked for when it was last rendered.
    pub(super) used: BTreeSet<Query>,
    /// It was written once, or will not be by waiting.
    pub(super) settled: bool,
    program: Program,
    wait: Option<Wait>,
    /// Questions that nobody has answered yet.
    pending: BTreeSet<Query>,
    /// What was last said of it.
    told: String,
    /// What `-dry` printed.
    printed: Option<String>,
}

/// Output of a command that did well.
pub(crate) fn pass_on(output: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading, and the work goes on.
    if let Err(error) = out.write_all(output.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "output cannot be written");
    }
}

impl Entry {
    /// Reads and parses it.
    pub(super) fn new(template: &Template, settings: &Settings) -> Result<Self, Error> {
        let text = match &template.source {
            Source::Contents(text) => text.clone(),
            Source::File(path) => {
                let read = |source| Error::Read { path: path.clone(), source };
                if std::fs::metadata(path).map_err(read)?.len() > TEMPLATE_FILE_BYTES_MAX as u64 {
                    let what = path.display().to_string();
                    return Err(Error::TooLarge { what, max: TEMPLATE_FILE_BYTES_MAX });
                }
                std::fs::read_to_string(path).map_err(read)?
            }
        };
        let mut denied = settings.denied.clone();
        denied.extend(template.denied.iter().cloned());
        let reading = Reading {
            dialect: Dialect::Consul,
            delimiters: template.delimiters.clone().unwrap_or(settings.delimiters.clone()),
            error_on_missing_key: template.error_on_missing_key,
            denied,
        };
        let mut quiet = Quiet::default();
        quiet.changed(None, Instant::now());
        Ok(Self {
            program: Program::parse(&template.name(), &text, &reading)?,
            wait: if settings.once { None } else { template.wait.unwrap_or(settings.wait) },
            template: template.clone(),
            quiet,
            used: BTreeSet::new(),
            settled: false,
            pending: BTreeSet::new(),
            told: String::new(),
            printed: None,
        })
    }

    /// A question was answered: it is due when it was the last that it waited for, or when the
    /// answer differs from one that it was made from.
    pub(super) fn answered(&mut self, query: &Query, now: Instant) {
        if !self.used.contains(query) {
            return;
        }
        self.pending.remove(query);
        if self.pending.is_empty() {
            // The first text is wanted soon; quiet is for those that replace another.
            self.quiet.changed(self.wait.filter(|_| self.settled), now);
        }
    }

    /// Says something once, until there is something else to say.
    pub(super) fn tell(&mut self, text: &str) {
        if self.told != text {
            tracing::error!("{text}");
            text.clone_into(&mut self.told);
        }
        self.settled = true;
    }

    fn waits(&mut self, missing: &std::collections::BTreeMap<Query, Missing>) {
        let absent: Vec<String> = missing
            .iter()
            .filter(|(_, why)| **why == Missing::Absent)
            .map(|(query, _)| query.to_string())
            .collect();
        if absent.is_empty() || absent.join(", ") == self.told {
            return;
        }
        self.told = absent.join(", ");
        let destination = self.template.destination.display();
        tracing::warn!(
            template = self.program.name(),
            "{destination} is not written: there is no {}; keyOrDefault does without",
            self.told
        );
    }

    /// Renders it, and puts what differs in its place.
    ///
    /// # Errors
    /// It cannot be rendered, checked or written: the file is then as it was.
    pub(super) async fn render(&mut self, view: View, dry: bool) -> Result<Written, Error> {
        let rendered = self.program.render(view);
        let whole = rendered.text.is_ok() && rendered.missing.is_empty();
        if whole {
            self.used = rendered.used;
        } else {
            // It broke off: what it asked for before it may ask for again.
            self.used.extend(rendered.used);
        }
        self.pending = rendered
            .missing
            .iter()
            .filter(|(_, why)| **why == Missing::NotYet)
            .map(|(query, _)| query.clone())
            .collect();
        if !rendered.missing.is_empty() {
            self.waits(&rendered.missing);
            return Ok(Written::Waits);
        }
        let text = rendered.text?;
        let written = if dry { self.print(text) } else { self.put(&text).await? };
        self.settled = true;
        self.told.clear();
        Ok(written)
    }

    fn print(&mut self, text: String) -> Written {
        if self.printed.as_ref() != Some(&text) {
            pass_on(&format!("> {}\n{text}", self.template.destination.display()));
            self.printed = Some(text);
        }
        Written::Same
    }

    async fn put(&self, text: &str) -> Result<Written, Error> {
        let template = &self.template;
        let wish = Wish {
            folders: template.create_dest_dirs,
            mode: template.perms,
            user: template.user.clone(),
            group: template.group.clone(),
            backup: template.backup,
        };
        replace(template, &wish, text).await
    }
}

/// Replaces the file of a template when it differs, if its check agrees.
///
/// # Errors
/// `Error::Write`, `Error::Command` of the check: the file is then as it was.
pub(crate) async fn replace(
    template: &Template,
    wish: &Wish,
    text: &str,
) -> Result<Written, Error> {
    let destination = &template.destination;
    let old = write::current(destination)?;
    let same = old.as_deref() == Some(text.as_bytes());
    if same {
        let mode = std::fs::metadata(destination).map(|m| m.mode() & 0o7777).ok();
        if wish.mode.is_some() && wish.mode != mode {
            let kept = Wish { backup: false, ..wish.clone() };
            write::stage(destination, text.as_bytes(), &kept)?.place()?;
        }
        return Ok(Written::Same);
    }
    let staged = write::stage(destination, text.as_bytes(), wish)?;
    let (env, timeout) = (&template.command_env, template.command_timeout);
    match &template.check {
        None => staged.place()?,
        Some(check) if command::names_file(check) => {
            let check = command::with_file(check, staged.path());
            command::run(&check, env, timeout).await?;
            staged.place()?;
        }
        Some(check) => {
            let mut back = PutBack { template, old, done: false };
            staged.place()?;
            command::run(check, env, timeout).await?;
            back.done = true;
        }
    }
    tracing::info!(path = %destination.display(), "file written");
    Ok(Written::Changed)
}

/// Puts the last good file back unless the new one turned out well, also when the wait for that is
/// given up.
struct PutBack<'a> {
    template: &'a Template,
    old: Option<Vec<u8>>,
    done: bool,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let path = &self.template.destination;
        let back = match &self.old {
            Some(bytes) => {
                write::stage(path, bytes, &Wish::default()).and_then(write::Staged::place)
            }
            None => std::fs::remove_file(path).map_err(|source| Error::Write {
                path: path.clone(),
                doing: "take it away again",
                source,
            }),
        };
        match back {
            Ok(()) => tracing::warn!(path = %path.display(), "last good file put back"),
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::error!(error, "last good file cannot be put back");
            }
        }
    }
}

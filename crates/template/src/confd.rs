//! confd's way: files of `conf.d` say which keys a template needs; they are fetched, and what
//! differs is checked, written and reloaded, once, at intervals or at each change.

mod backend;
mod options;
mod resource;

pub use backend::flattened;
pub use options::{Asked, Backend, Options, read};

use crate::command;
use crate::error::{Error, chain};
use crate::functions::Dialect;
use crate::program::{Program, Reading};
use crate::runner::{Heard, Signals, Written, pass_on, replace};
use crate::scene::View;
use crate::settings::{Settings, Source};
use crate::write::{Wish, current};
use backend::Server;
use resource::Resource;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two attempts when the backend does not answer a watch.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until it is done or told to end. The exit code.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(
    options: Options,
    again: &(dyn Fn() -> Result<Options, Error> + Sync),
) -> Result<u8, Error> {
    let mut signals = Signals::new(&Settings::default())?;
    let mut confd = Confd::new(options)?;
    loop {
        let heard = {
            let mut work = std::pin::pin!(confd.round());
            tokio::select! {
                code = &mut work => match code {
                    Some(code) => return Ok(code),
                    None => continue,
                },
                heard = signals.next() => heard,
            }
        };
        match heard {
            Heard::Stop(code) => return Ok(code),
            Heard::Forward(_) => {}
            Heard::Reload => match again().and_then(Confd::new) {
                Ok(fresh) => confd = fresh,
                Err(error) => tracing::error!(error = chain(&error), "not reloaded"),
            },
        }
    }
}

struct Confd {
    options: Options,
    server: Server,
    resources: Vec<(Resource, Program)>,
    told: BTreeMap<usize, String>,
    env: Arc<BTreeMap<String, String>>,
    /// Nothing is waited for before the first round.
    begun: bool,
    /// The backend did not answer: it is asked again soon, change or not.
    again: bool,
}

impl Confd {
    fn new(options: Options) -> Result<Self, Error> {
        let server = Server::new(&options)?;
        let mut resources = vec![];
        for resource in resource::load(&options)? {
            let Source::File(path) = &resource.template.source else { continue };
            let text = std::fs::read_to_string(path)
                .map_err(|source| Error::Read { path: path.clone(), source })?;
            let reading = Reading {
                dialect: Dialect::Confd,
                delimiters: ("{{".into(), "}}".into()),
                error_on_missing_key: false,
                denied: vec![],
            };
            let program = Program::parse(&path.display().to_string(), &text, &reading)?;
            resources.push((resource, program));
        }
        if resources.is_empty() {
            tracing::warn!(folder = %options.confdir.display(), "there is no conf.d/*.toml in it");
        }
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let env = Arc::new(env.collect());
        Ok(Self {
            options,
            server,
            resources,
            told: BTreeMap::new(),
            env,
            begun: false,
            again: false,
        })
    }

    /// Waits for a change, unless it is the first round, then looks at every resource. An exit code
    /// when that was all.
    async fn round(&mut self) -> Option<u8> {
        if self.begun {
            self.wait().await;
        }
        self.begun = true;
        self.again = false;
        let mut failed = false;
        for at in 0..self.resources.len() {
            let Some((resource, program)) = self.resources.get(at) else { continue };
            match one(&mut self.server, resource, program, &self.env, &self.options).await {
                Ok(()) => {
                    self.told.remove(&at);
                }
                Err(error) => {
                    failed = true;
                    self.again |= matches!(error, Error::Server { .. });
                    let text = chain(&error);
                    if self.told.get(&at) != Some(&text) {
                        tracing::error!("{text}");
                        self.told.insert(at, text);
                    }
                }
            }
        }
        self.options.once.then_some(u8::from(failed))
    }

    async fn wait(&mut self) {
        if self.again {
            return tokio::time::sleep(RETRY.min(self.options.interval)).await;
        }
        if !self.options.watch {
            return tokio::time::sleep(self.options.interval).await;
        }
        let prefixes: Vec<String> = self
            .resources
            .iter()
            .flat_map(|(resource, _)| resource.keys.iter().map(|key| resource.path(key)))
            .collect();
        if let Err(error) = self.server.changed(&prefixes).await {
            tracing::warn!(error = chain(&error), "no answer to the watch, asked again");
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn one(
    server: &mut Server,
    resource: &Resource,
    program: &Program,
    env: &Arc<BTreeMap<String, String>>,
    options: &Options,
) -> Result<(), Error> {
    let mut keys = BTreeMap::new();
    for key in &resource.keys {
        for (key, value) in server.values(&resource.path(key)).await? {
            let stripped = key.strip_prefix(&resource.prefix).unwrap_or(&key);
            keys.insert(format!("/{}", stripped.trim_start_matches('/')), value);
        }
    }
    let view = View {
        answers: Arc::default(),
        keys: Arc::new(keys),
        env: Arc::clone(env),
        now: std::time::SystemTime::now().into(),
        sandbox: None,
    };
    let text = program.render(view).text?;
    let template = &resource.template;
    if options.noop {
        if current(&template.destination)?.as_deref() != Some(text.as_bytes()) {
            let path = template.destination.display();
            tracing::warn!(%path, "file would change, and does not as -noop says");
        }
        return Ok(());
    }
    let wish = Wish {
        folders: false,
        mode: template.perms,
        user: template.user.clone(),
        group: template.group.clone(),
        backup: false,
    };
    if replace(template, &wish, &text).await? != Written::Changed {
        return Ok(());
    }
    let Some(reload) = template.command.as_ref().filter(|_| !options.sync_only) else {
        return Ok(());
    };
    let output = command::run(reload, &[], template.command_timeout).await?;
    tracing::info!(command = %reload, "command run");
    pass_on(&output);
    Ok(())
}

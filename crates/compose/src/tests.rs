//! Tests of the door: files in memory go in, a stack or messages come out. One file per topic.

mod bad_files;
mod balancers;
mod budgets;
mod containers;
mod documentation;
mod floating;
mod layers;
mod links;
mod modes;
mod placement;
mod policy;
mod properties;
mod rancher_keys;
mod rancher_labels;
mod rollouts;
mod services;
mod sidekicks;
mod templates;
mod variables;

use crate::{Errors, Files, LoadOptions, Loaded, load_from};
use model::balancer::BalancerSpec;
use model::container_spec::ContainerSpec;
use model::id::ServiceName;
use model::service::{Kind, ServiceSpec};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Files in memory and what is asked of them.
pub(crate) struct Given {
    files: BTreeMap<PathBuf, Vec<u8>>,
    options: LoadOptions,
}

/// `text` as `/p/compose.yml`, to be loaded.
pub(crate) fn given(text: &str) -> Given {
    let options = LoadOptions { files: vec!["/p/compose.yml".into()], ..LoadOptions::default() };
    Given { files: BTreeMap::new(), options }.with("/p/compose.yml", text)
}

/// A service `web` with an image and these lines, each indented once below it.
pub(crate) fn web(lines: &str) -> Given {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    given(&format!("services:\n  web:\n    image: web:1\n{indented}"))
}

impl Given {
    /// Adds a file.
    pub(crate) fn with(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), content.as_ref().to_vec());
        self
    }

    /// Adds a file that is merged over the others.
    pub(crate) fn over(mut self, path: &str, content: &str) -> Self {
        self.options.files.push(path.into());
        self.with(path, content)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.options.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut LoadOptions)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn load(self) -> Result<Loaded, Errors> {
        load_from(&self.options, &Files::memory(self.files))
    }

    /// The stack; the errors when there is none.
    pub(crate) fn loaded(self) -> Loaded {
        match self.load() {
            Ok(loaded) => loaded,
            Err(errors) => panic!("{errors}"),
        }
    }

    /// The stack, without a warning.
    pub(crate) fn clean(self) -> Loaded {
        let loaded = self.loaded();
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.is_empty(), "{}", warnings.join("\n"));
        loaded
    }

    /// The service `web`, without a warning.
    pub(crate) fn service(self) -> ServiceSpec {
        service(&self.clean(), "web").clone()
    }

    /// The container of the service `web`, without a warning.
    pub(crate) fn container(self) -> ContainerSpec {
        self.service().template.container().expect("web has containers").clone()
    }

    /// The one warning, and the stack.
    pub(crate) fn warned(self, fragment: &str) -> Loaded {
        let loaded = self.loaded();
        let shown: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 1, "{}", shown.join("\n"));
        assert!(shown[0].contains(fragment), "{}", shown[0]);
        loaded
    }

    /// The errors.
    pub(crate) fn refused(self) -> Errors {
        self.load().expect_err("the file is bad")
    }
}

pub(crate) fn service<'l>(loaded: &'l Loaded, name: &str) -> &'l ServiceSpec {
    &loaded.spec.services[&ServiceName::parse(name).unwrap()]
}

pub(crate) fn balancer<'l>(loaded: &'l Loaded, name: &str) -> &'l BalancerSpec {
    match &service(loaded, name).template.kind {
        Kind::Balancer(spec) => spec,
        Kind::Container(_) | Kind::External(_) | Kind::Alias(_) => panic!("{name} is no balancer"),
    }
}

//! The way of a load: variables, files, `extends`, merging, profiles, checks, the model.

use crate::assemble::{ContainerName, assemble};
use crate::check::{self, Wanted};
use crate::diagnostic::{Diagnostic, Errors, quoted};
use crate::document::Document;
use crate::environment::is_active;
use crate::fields::Fields;
use crate::files::Files;
use crate::group::Groups;
use crate::keys::Scope;
use crate::loader::Loader;
use crate::merge;
use crate::policy::{Own, Reader};
use crate::read::{BuildSpec, Read, Stack};
use crate::render::{self, Whole};
use crate::schema;
use crate::source::Place;
use crate::stack_name;
use crate::variables::Variables;
use crate::yaml::{Map, Mark, Node};
use model::id::{ServiceName, StackName};
use model::limits;
use model::stack::StackSpec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to load, and with what around it.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Compose files in merging order; `-` is the standard input. At least one.
    pub files: Vec<PathBuf>,
    /// Folder beside which the relative paths of these files resolve; by default each file's own.
    pub project_dir: Option<PathBuf>,
    /// Name of the stack, before everything that would name it.
    pub project_name: Option<String>,
    /// The process environment.
    pub env: BTreeMap<String, String>,
    /// Files of variables instead of the `.env` beside the first file.
    pub env_files: Vec<PathBuf>,
    /// Active profiles; `*` is all. Those of `COMPOSE_PROFILES` when empty.
    pub profiles: Vec<String>,
    /// Every warning is an error.
    pub strict: bool,
}

/// A stack as its files have it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name.
    pub stack: StackName,
    /// Its services and volumes.
    pub spec: StackSpec,
    /// Images to build before.
    pub builds: BTreeMap<ContainerName, BuildSpec>,
    /// What is not carried out as written.
    pub warnings: Vec<Diagnostic>,
    /// Every file that was read, as an absolute path.
    pub sources: Vec<PathBuf>,
    pub(crate) canonical: Arc<str>,
}

/// The merged, interpolated file as canonical YAML. Contents of secrets are not in it.
#[must_use]
pub fn render(loaded: &Loaded) -> String {
    loaded.canonical.to_string()
}

/// Loads a stack from the disk, relative paths taken from the current folder.
///
/// # Errors
/// `Errors`: everything that is wrong with the files, each with its place.
pub fn load(options: &LoadOptions) -> Result<Loaded, Errors> {
    // Without a current folder only absolute paths can be used.
    let folder = std::env::current_dir().unwrap_or_else(|_gone| PathBuf::from("/"));
    load_from(options, &Files::disk(folder))
}

/// Loads a stack from given files.
///
/// # Errors
/// `Errors`: everything that is wrong with the files, each with its place.
pub fn load_from(options: &LoadOptions, files: &Files) -> Result<Loaded, Errors> {
    let variables = Variables::new(options.env.clone());
    let mut loader = Loader::new(files, variables, options.strict);
    take_env_files(options, &mut loader);
    let parts = gather(options, &mut loader);
    let Loader { mut report, sources, .. } = loader;
    if parts.is_none() && !report.failed() {
        report.file_error("compose".to_owned(), "the files make no stack");
    }
    let warnings = report.finish(&sources);
    match (warnings, parts) {
        (Ok(warnings), Some(parts)) => Ok(Loaded {
            stack: parts.stack,
            spec: parts.spec,
            builds: parts.builds,
            warnings,
            sources: sources.paths(),
            canonical: parts.canonical.into(),
        }),
        (Ok(warnings), None) => Err(Errors { errors: vec![], more: 0, warnings }),
        (Err(errors), _) => Err(errors),
    }
}

struct Parts {
    stack: StackName,
    spec: StackSpec,
    builds: BTreeMap<ContainerName, BuildSpec>,
    canonical: String,
}

/// Folder of the first file, where `.env` lies and the stack gets its name from.
fn first_folder(options: &LoadOptions, files: &Files) -> PathBuf {
    match (&options.project_dir, options.files.first()) {
        (Some(folder), _) => files.absolute(folder),
        (None, Some(first)) if first != Path::new("-") => {
            files.absolute(first).parent().unwrap_or(Path::new("/")).to_owned()
        }
        _ => files.absolute(Path::new(".")),
    }
}

fn take_env_files(options: &LoadOptions, loader: &mut Loader<'_>) {
    let mut named: Vec<(PathBuf, String)> = vec![];
    for file in &options.env_files {
        named.push((loader.files.absolute(file), file.display().to_string()));
    }
    if named.is_empty() {
        let path = first_folder(options, loader.files).join(".env");
        if loader.files.is_file(&path) {
            let shown = path.display().to_string();
            named.push((path, shown));
        }
    }
    for (path, shown) in named {
        let Some((file, pairs)) = loader.env_file_pairs(&path, &shown, false) else { continue };
        if !Arc::make_mut(&mut loader.variables).take(pairs, &mut loader.budget) {
            let place = Place { file, line: 1, column: 1 };
            let max = limits::COMPOSE_EXPANDED_BYTES_MAX;
            loader.report.error(place, format!("its variables have over {max} bytes"));
        }
    }
}

fn gather(options: &LoadOptions, loader: &mut Loader<'_>) -> Option<Parts> {
    let documents = documents(options, loader);
    if documents.is_empty() {
        return None;
    }
    let mut whole = merged(&documents, loader);
    let folder = first_folder(options, loader.files);
    let asked = options.project_name.as_deref();
    let variables = loader.variables.clone();
    let stack = stack_name::find(asked, &variables, &documents, &folder, &mut loader.report);
    let start = Place { file: documents.first()?.file, line: 1, column: 1 };
    if whole.services.is_empty() {
        if !loader.report.failed() {
            let finding = loader.report.error(start, "there is no service");
            finding.expected("services: {name: {image: …}}");
        }
        return None;
    }
    if whole.services.len() > limits::STACK_SERVICES_MAX {
        let message = format!("there are {} services", whole.services.len());
        let max = limits::STACK_SERVICES_MAX;
        loader.report.error(start, message).expected(format!("at most {max}"));
        return None;
    }
    let inactive = prepare(&mut whole, profiles(options, &variables), loader);
    check_sections(&whole, loader);
    // The rest is read under any name, so that all errors are shown at once.
    let name = stack.clone().or_else(|| StackName::parse("stack").ok())?;
    let (spec, builds) = read_services(&name, &whole, &inactive, loader);
    let stack = stack?;
    whole.name = stack.to_string();
    Some(Parts { stack, spec, builds, canonical: render::text(whole) })
}

fn documents(options: &LoadOptions, loader: &mut Loader<'_>) -> Vec<Arc<Document>> {
    if options.files.is_empty() {
        loader
            .report
            .file_error("compose".to_owned(), "no compose file is named")
            .expected("compose.yaml or docker-compose.yml");
    }
    let mut out: Vec<Arc<Document>> = vec![];
    let main = first_folder(options, loader.files);
    loader.main_folder = Some(main.clone());
    for file in &options.files {
        let stdin = file == Path::new("-");
        let path = if stdin { file.clone() } else { loader.files.absolute(file) };
        let own = if stdin { None } else { path.parent() };
        let folder = match (&options.project_dir, own) {
            (None, Some(own)) => own.to_owned(),
            _ => main.clone(),
        };
        let shown = file.display().to_string();
        if let Some(document) = loader.document(&path, &shown, &folder, None) {
            loader.included(&document, &mut vec![path], &mut out);
            out.push(document);
        }
    }
    out
}

/// All documents laid over each other, what they extend below each.
fn merged(documents: &[Arc<Document>], loader: &mut Loader<'_>) -> Whole {
    let mut out = Whole::default();
    for document in documents {
        let mut services = Map::default();
        if document.services.len() > limits::STACK_SERVICES_MAX {
            let place = Place { file: document.file, line: 1, column: 1 };
            let message = format!("there are {} services", document.services.len());
            let max = limits::STACK_SERVICES_MAX;
            loader.report.error(place, message).expected(format!("at most {max}"));
            continue;
        }
        for (key, node) in document.services.iter() {
            let node = if node.mark == Mark::Reset {
                Some(node.clone())
            } else {
                loader.extended(document, &key.text, &mut vec![])
            };
            if let Some(node) = node {
                services.set(key.clone(), node);
            }
        }
        let (report, merger) = (&mut loader.report, &mut loader.merger);
        out.services = merger.named(&out.services, &services, report);
        out.volumes = merger.named(&out.volumes, &document.volumes, report);
        out.networks = merger.named(&out.networks, &document.networks, report);
        out.secrets = merger.named(&out.secrets, &document.secrets, report);
        out.configs = merger.named(&out.configs, &document.configs, report);
        if let (Some(_), Some(second)) = (&out.policy, &document.policy) {
            let finding = report.error(second.place, "network_policy is said by two files");
            finding.expected("one of them, for the services of all files");
        }
        out.policy = document.policy.clone().or(out.policy);
    }
    for map in
        [&mut out.services, &mut out.volumes, &mut out.networks, &mut out.secrets, &mut out.configs]
    {
        *map = merge::settle(map);
    }
    out
}

fn profiles(options: &LoadOptions, variables: &Variables) -> Vec<String> {
    if !options.profiles.is_empty() {
        return options.profiles.clone();
    }
    let text = variables.get("COMPOSE_PROFILES").unwrap_or_default();
    text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

/// Checks the keys of every service and fills in its variables. Services of inactive profiles are
/// taken out and returned with their profiles.
fn prepare(
    whole: &mut Whole,
    profiles: Vec<String>,
    loader: &mut Loader<'_>,
) -> BTreeMap<String, Vec<String>> {
    let mut inactive = BTreeMap::new();
    let mut active = Map::default();
    let mut read = BTreeMap::new();
    for (key, node) in std::mem::take(&mut whole.services) {
        let name = &*key.text;
        if let Err(error) = ServiceName::parse(name) {
            loader
                .report
                .error(key.place, error.to_string())
                .expected("letters, digits, '-' and '_', at most 63");
        }
        let Some(map) = node.as_map() else { continue };
        schema::check_map(
            map,
            Scope::Service,
            &format!("service {}", quoted(name)),
            &mut loader.report,
        );
        if !is_active(map, &profiles) {
            inactive.insert(name.to_owned(), Fields::of(map).texts("profiles"));
            continue;
        }
        let mut map = map.clone();
        loader.resolve_variables(&mut map, &mut read);
        active.set(key, Node::map(node.place, map));
    }
    whole.services = active;
    inactive
}

fn check_sections(whole: &Whole, loader: &mut Loader<'_>) {
    let sections = [
        ("volume", &whole.volumes, Scope::Volume),
        ("network", &whole.networks, Scope::Network),
        ("secret", &whole.secrets, Scope::File),
        ("config", &whole.configs, Scope::File),
    ];
    for (what, map, scope) in sections {
        for (key, node) in map.iter() {
            let subject = format!("{what} {}", quoted(&key.text));
            match node.as_map() {
                Some(map) => schema::check_map(map, scope, &subject, &mut loader.report),
                None if node.is_null() => {}
                None => {
                    loader
                        .report
                        .error(node.place, format!("{subject} is {}", node.kind()))
                        .expected("a map, or nothing");
                }
            }
        }
    }
}

fn read_services(
    name: &StackName,
    whole: &Whole,
    inactive: &BTreeMap<String, Vec<String>>,
    loader: &mut Loader<'_>,
) -> (StackSpec, BTreeMap<ContainerName, BuildSpec>) {
    let groups = Groups::of(&whole.services, inactive, &mut loader.report);
    let policy = whole.policy.as_ref().map(|node| {
        let stack = Some(Own { name, services: &whole.services });
        Reader { report: &mut loader.report, subject: "the stack", stack }.service(node)
    });
    let stack = Stack {
        name,
        groups: &groups,
        services: &whole.services,
        inactive,
        partial: &loader.partial,
        volumes: &whole.volumes,
        networks: &whole.networks,
        secrets: &whole.secrets,
        configs: &whole.configs,
        policy: policy.as_ref(),
        sources: &loader.sources,
        files: loader.files,
        variables: &loader.variables,
    };
    let mut outcomes = vec![];
    for (key, node) in whole.services.iter() {
        let (Ok(service), Some(map)) = (ServiceName::parse(&key.text), node.as_map()) else {
            continue;
        };
        let read = Read {
            stack: &stack,
            report: &mut loader.report,
            subject: format!("service {}", quoted(&key.text)),
            name: &key.text,
            place: key.place,
            fields: Fields::of(map),
            volumes: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        outcomes.push((service.clone(), read.service(&service)));
    }
    check::dependencies(&whole.services, &groups, &mut loader.report);
    let (spec, builds) = assemble(outcomes, name, &groups, whole, &mut loader.report);
    check_ports(&spec, &groups, whole, loader);
    (spec, builds)
}

fn check_ports(spec: &StackSpec, groups: &Groups, whole: &Whole, loader: &mut Loader<'_>) {
    let mut wanted = vec![];
    for (key, node) in whole.services.iter() {
        let name = &*key.text;
        let service = ServiceName::parse(groups.root(name)).ok();
        let Some(template) = service.and_then(|s| Some(&spec.services.get(&s)?.template)) else {
            continue;
        };
        let sidekick = groups.primary_of(name).and_then(|_| ServiceName::parse(name).ok());
        let taken = match sidekick {
            Some(sidekick) => template.sidekicks.get(&sidekick).map(|s| s.ports.as_slice()),
            None => Some(template.ports.as_slice()),
        };
        let taken = taken.unwrap_or_default();
        let placement = &template.placement;
        let placed = placement.requested_host.is_some() || !placement.constraints.is_empty();
        let fields = node.as_map().map(Fields::of);
        let items = fields.map(|f| f.items("ports")).unwrap_or_default();
        for (i, port) in taken.iter().enumerate() {
            let place = if items.len() == taken.len() { items[i].place } else { key.place };
            wanted.push(Wanted { service: name, place, port, placed });
        }
    }
    check::ports(&wanted, &mut loader.report);
}

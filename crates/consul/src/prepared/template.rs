//! Templates: `${name.full}`, `${name.prefix}`, `${name.suffix}` and `${match(1)}` in the texts of a
//! query, filled in from the name that was asked for.

use super::definition::Definition;
use model::limits::FILTER_PATTERN_BYTES_MAX;

/// Is it a pattern?
pub(super) fn check(pattern: &str) -> Result<(), String> {
    compile(pattern).map(drop)
}

fn compile(pattern: &str) -> Result<regex::Regex, String> {
    let mut builder = regex::RegexBuilder::new(pattern);
    let built = builder.size_limit(FILTER_PATTERN_BYTES_MAX).build();
    built.map_err(|error| format!("Bad Template.Regexp '{pattern}': {error}"))
}

/// The query that a template makes of a name, which begins as its own.
pub(super) fn fill(template: &Definition, name: &str) -> Result<Definition, String> {
    let pattern = &template.template.regexp;
    let groups: Vec<String> = match pattern.is_empty() {
        true => vec![],
        false => compile(pattern)?.captures(name).map_or_else(Vec::new, |found| {
            let groups = found.iter().map(|group| group.map_or("", |group| group.as_str()));
            groups.map(str::to_owned).collect()
        }),
    };
    let put = |text: &String| model::prepared::fill(text, name, &template.name, &groups);
    let mut filled = template.clone();
    let service = &mut filled.service;
    service.service = put(&service.service)?;
    service.near = put(&service.near)?;
    for text in &mut service.tags {
        *text = put(text)?;
    }
    for text in service.node_meta.values_mut().chain(service.service_meta.values_mut()) {
        *text = put(text)?;
    }
    if template.template.remove_empty_tags {
        service.tags.retain(|tag| !tag.is_empty());
    }
    Ok(filled)
}

//! The stack's name: asked for, from the environment, from the file, or the folder's.

use crate::diagnostic::{Report, quoted};
use crate::document::Document;
use crate::source::Place;
use crate::variables::Variables;
use model::id::StackName;
use std::path::Path;

/// Finds the name. Errors are in the report.
pub(crate) fn find(
    asked: Option<&str>,
    variables: &Variables,
    documents: &[impl AsRef<Document>],
    folder: &Path,
    report: &mut Report,
) -> Option<StackName> {
    let start =
        Place { file: documents.first().map_or(0, |d| d.as_ref().file), line: 1, column: 1 };
    let mut parse = |text: &str, place: Place, origin: &str| match StackName::parse(text) {
        Ok(name) => Some(name),
        Err(error) => {
            report
                .error(place, format!("{error} (from {origin})"))
                .expected("letters, digits, '-' and '_', at most 63");
            None
        }
    };
    if let Some(name) = asked {
        return parse(name, start, "the command line");
    }
    if let Some(name) = variables.get("COMPOSE_PROJECT_NAME").filter(|n| !n.is_empty()) {
        return parse(&name, start, "COMPOSE_PROJECT_NAME");
    }
    let named = documents.iter().rev().find_map(|d| d.as_ref().name.as_ref());
    if let Some(node) = named {
        let Some(text) = node.as_text() else {
            report.error(node.place, format!("name is {}", node.kind())).expected("a text");
            return None;
        };
        return parse(text, node.place, "name");
    }
    let last = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name = normalised(&last);
    if name.is_empty() {
        report
            .error(start, format!("the folder's name {} makes no stack name", quoted(&last)))
            .expected("a stack name")
            .hint("write \"name: my-stack\" in the file, or give it on the command line");
        return None;
    }
    StackName::parse(&name).ok()
}

/// A folder's name as docker compose makes a project's name of it.
pub(crate) fn normalised(folder: &str) -> String {
    let lower = folder.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).chars().take(model::limits::NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn a_folder_gives_the_name_that_compose_would_give() {
        for (folder, name) in
            [("My Shop", "myshop"), ("_x", "x"), ("a.b-c_d", "ab-c_d"), ("Ü", ""), ("__", "")]
        {
            assert_eq!(normalised(folder), name);
        }
    }
}

//! "Did you mean …?" for names of the user's own.

/// A hint with the nearest of the names that exist, or all of them when there are few.
pub(crate) fn hint<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.take(500).collect();
    let near = names
        .iter()
        .filter(|n| n.len() <= 80 && name.len() <= 80)
        .map(|n| (strsim::damerau_levenshtein(&name.to_lowercase(), &n.to_lowercase()), n))
        .min()
        .filter(|(distance, _)| *distance <= (name.len() / 3).clamp(1, 4));
    match near {
        Some((_, near)) => Some(format!("did you mean {near:?}?")),
        None if names.is_empty() => None,
        None if names.len() <= 8 => Some(format!("there are: {}", names.join(", "))),
        None => None,
    }
}

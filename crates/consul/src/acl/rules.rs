//! What the text of a policy says.

use super::hcl::{self, Item};
use super::level::{Level, Named, Rules, Whole};
use model::limits::{ACL_RULE_NAME_BYTES_MAX, ACL_RULES_MAX};

/// Reads rules.
///
/// # Errors
/// What is no rule, for people. What is not understood is refused: who wrote it meant something.
pub(super) fn parse(text: &str) -> Result<Rules, String> {
    let (mut rules, mut left) = (Rules::default(), ACL_RULES_MAX);
    for (key, item) in hcl::parse(text)? {
        read(&mut rules, &key, &item, &mut left)?;
    }
    Ok(rules)
}

fn read(rules: &mut Rules, key: &str, item: &Item, left: &mut usize) -> Result<(), String> {
    if let Some(what) = Whole::ALL.into_iter().find(|what| what.as_str() == key) {
        take(left)?;
        rules.put_whole(what, level(key, item, false)?);
        return Ok(());
    }
    let (name, is_prefix) = match key.strip_suffix("_prefix") {
        Some(name) => (name, true),
        None => (key, false),
    };
    let kind = Named::ALL.into_iter().find(|kind| kind.as_str() == name);
    let kind = kind.ok_or_else(|| format!("Invalid key {key:?}: no such rule"))?;
    each(item, &mut |name, body| {
        take(left)?;
        if name.len() > ACL_RULE_NAME_BYTES_MAX {
            return Err(format!("a name of {key} has more than {ACL_RULE_NAME_BYTES_MAX} bytes"));
        }
        let found = policy(key, name, body, kind)?;
        rules.put_named(kind, name, is_prefix, found);
        Ok(())
    })
    .map_err(|why| format!("Invalid {key} policy: {why}"))
}

fn take(left: &mut usize) -> Result<(), String> {
    *left = left.checked_sub(1).ok_or_else(|| format!("more than {ACL_RULES_MAX} rules"))?;
    Ok(())
}

/// Each name with its body; JSON may have lists of such objects.
fn each(
    item: &Item,
    found: &mut impl FnMut(&str, &Item) -> Result<(), String>,
) -> Result<(), String> {
    match item {
        Item::List(all) => all.iter().try_for_each(|one| each(one, found)),
        Item::Object(all) => all.iter().try_for_each(|(name, body)| found(name, body)),
        Item::Text(text) => Err(format!("{text:?} where a name with its rule is to be")),
    }
}

/// What a body `{ policy = "…" }` says.
fn policy(key: &str, name: &str, body: &Item, kind: Named) -> Result<Level, String> {
    let fields = match body {
        Item::Object(fields) => fields,
        Item::List(all) => match all.as_slice() {
            [one @ (Item::Object(_) | Item::List(_))] => return policy(key, name, one, kind),
            _ => return Err(format!("{name:?} has to have one rule")),
        },
        Item::Text(_) => return Err(format!("{name:?} has no {{ policy = … }}")),
    };
    let mut found = None;
    for (field, value) in fields {
        match field.as_str() {
            "policy" if found.is_none() => {
                found = Some(level(key, value, kind == Named::Key)?);
            }
            // Who may say which services talk to each other: there is no mesh that would ask.
            "intentions" if kind == Named::Service => drop(level(key, value, false)?),
            other => return Err(format!("{other:?} of {name:?} is not understood")),
        }
    }
    found.ok_or_else(|| format!("{name:?} has no policy"))
}

fn level(key: &str, item: &Item, may_list: bool) -> Result<Level, String> {
    let Item::Text(word) = item else { return Err(format!("{key} is to be a word")) };
    match Level::parse(word) {
        Some(Level::List) if !may_list => Err(format!("\"list\" is for keys, not for {key}")),
        Some(level) => Ok(level),
        None => Err(format!("Invalid {key} policy: {word:?} is not read, write, list or deny")),
    }
}

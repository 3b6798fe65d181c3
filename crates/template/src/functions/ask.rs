//! Functions that ask: services, nodes, keys, files, the environment; and templates by name.

use super::{Call, Outcome, Table};
use crate::query::Query;
use crate::scene::Missing;
use crate::value::{list, text};
use gotmpl::Value;
use model::limits::TEMPLATE_NESTED_MAX;
use std::path::{Component, Path};
use std::sync::atomic::Ordering;

pub(super) const TABLE: Table = &[
    ("services", services),
    ("service", service),
    ("nodes", nodes),
    ("node", node),
    ("datacenters", datacenters),
    ("key", key),
    ("keyExists", key_exists),
    ("key_exists", key_exists),
    ("keyExistsGet", key_exists_get),
    ("keyOrDefault", key_or_default),
    ("key_or_default", key_or_default),
    ("ls", ls),
    ("safeLs", safe_ls),
    ("safe_ls", safe_ls),
    ("tree", tree),
    ("safeTree", safe_tree),
    ("safe_tree", safe_tree),
    ("file", file),
    ("env", env),
    ("mustEnv", must_env),
    ("envOrDefault", env_or_default),
    ("executeTemplate", execute_template),
];

fn optional<'a>(call: &'a Call<'_>) -> Result<&'a str, gotmpl::TemplateError> {
    call.count(0, 1)?;
    if call.args.is_empty() { Ok("") } else { call.text(0) }
}

fn ask_list(call: &Call<'_>, query: Result<Query, String>) -> Outcome {
    let query = query.map_err(|why| call.fail(why))?;
    Ok(call.scene.ask(query, false).unwrap_or_else(|| list(vec![])))
}

fn services(call: &Call<'_>) -> Outcome {
    ask_list(call, Query::services(optional(call)?))
}

fn service(call: &Call<'_>) -> Outcome {
    call.count(1, 8)?;
    let arguments: Result<Vec<String>, _> =
        call.args.iter().map(|arg| call.as_text(arg).map(ToOwned::to_owned)).collect();
    let arguments = arguments?;
    if arguments.first().is_some_and(String::is_empty) {
        return Ok(list(vec![]));
    }
    ask_list(call, Query::service(&arguments))
}

fn nodes(call: &Call<'_>) -> Outcome {
    ask_list(call, Query::nodes(optional(call)?))
}

fn node(call: &Call<'_>) -> Outcome {
    let query = Query::node(optional(call)?).map_err(|why| call.fail(why))?;
    let Query::Node(None, scope) = &query else {
        return Ok(call.scene.ask(query, false).unwrap_or(Value::Nil));
    };
    // The agent says its name, and the catalog the rest.
    let Some(Value::String(own)) = call.scene.ask(query.clone(), true) else {
        return Ok(Value::Nil);
    };
    let query = Query::Node(Some(own.to_string()), scope.clone());
    Ok(call.scene.ask(query, false).unwrap_or(Value::Nil))
}

fn datacenters(call: &Call<'_>) -> Outcome {
    call.count(0, 1)?;
    ask_list(call, Ok(Query::Datacenters))
}

fn pair(call: &Call<'_>, needed: bool) -> Result<Option<Value>, gotmpl::TemplateError> {
    let query = Query::key(call.text(0)?).map_err(|why| call.fail(why))?;
    Ok(call.scene.ask(query, needed))
}

fn value_of(pair: &Value) -> Value {
    pair.field("Value").cloned().unwrap_or_else(|| text(""))
}

fn key(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    if call.text(0)?.is_empty() {
        return Ok(text(""));
    }
    Ok(pair(call, true)?.as_ref().map_or_else(|| text(""), value_of))
}

fn key_exists(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    Ok(Value::Bool(pair(call, false)?.is_some()))
}

fn key_exists_get(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let key = text(call.text(0)?);
    Ok(pair(call, false)?.unwrap_or_else(|| {
        crate::value::map([("Key", key), ("Value", text("")), ("Exists", Value::Bool(false))])
    }))
}

fn key_or_default(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let found = pair(call, false)?.as_ref().map(value_of);
    // A key that is there and empty counts as not said, as in the original.
    match found {
        Some(Value::String(value)) if !value.is_empty() => Ok(Value::String(value)),
        _ => Ok(text(call.shown(1)?.as_ref())),
    }
}

/// Keys below a folder; those of folders below it too when it is a tree.
fn below(call: &Call<'_>, deep: bool, needed: bool) -> Outcome {
    call.count(1, 1)?;
    let query = Query::keys(call.text(0)?).map_err(|why| call.fail(why))?;
    let found = call.scene.ask(query.clone(), false);
    let all = found.as_ref().map_or(Ok([].as_slice()), |all| call.as_list(all))?;
    let wanted = |pair: &&Value| {
        let key = pair.field("Key").map(ToString::to_string).unwrap_or_default();
        !key.is_empty() && !key.ends_with('/') && (deep || !key.contains('/'))
    };
    let kept: Vec<Value> = all.iter().filter(wanted).cloned().collect();
    if needed && found.is_some() && kept.is_empty() {
        call.scene.note(query, Some(Missing::Absent));
    }
    Ok(list(kept))
}

fn ls(call: &Call<'_>) -> Outcome {
    below(call, false, false)
}

fn safe_ls(call: &Call<'_>) -> Outcome {
    below(call, false, true)
}

fn tree(call: &Call<'_>) -> Outcome {
    below(call, true, false)
}

fn safe_tree(call: &Call<'_>) -> Outcome {
    below(call, true, true)
}

fn file(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let path = Path::new(call.text(0)?);
    if let Some(sandbox) = &call.scene.view.sandbox {
        let up = path.components().any(|part| part == Component::ParentDir);
        if up || !path.starts_with(sandbox) {
            let why = format!("{} is not below {}", path.display(), sandbox.display());
            return Err(call.fail(why));
        }
    }
    Ok(call.scene.ask(Query::File(path.to_owned()), true).unwrap_or_else(|| text("")))
}

fn variable(call: &Call<'_>) -> Result<Option<Value>, gotmpl::TemplateError> {
    let found = call.scene.view.env.get(call.text(0)?);
    Ok(found.map(|value| text(value.as_str())))
}

fn env(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    Ok(variable(call)?.unwrap_or_else(|| text("")))
}

fn must_env(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let name = call.text(0)?;
    variable(call)?.ok_or_else(|| call.fail(format!("variable {name} is not set")))
}

fn env_or_default(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let found = variable(call)?;
    Ok(found.unwrap_or(text(call.shown(1)?.as_ref())))
}

fn execute_template(call: &Call<'_>) -> Outcome {
    call.count(1, 2)?;
    let dot = call.args.get(1).cloned().unwrap_or(Value::Nil);
    let name = call.text(0)?;
    if call.scene.nested.fetch_add(1, Ordering::Relaxed) >= TEMPLATE_NESTED_MAX {
        return Err(call.fail(format!("nested deeper than {TEMPLATE_NESTED_MAX}")));
    }
    let functions = super::bind(call.scene, call.dialect);
    let done = crate::program::execute(&call.scene.base, functions, name, &dot);
    call.scene.nested.fetch_sub(1, Ordering::Relaxed);
    call.made(done.map_err(|why| call.fail(why))?)
}

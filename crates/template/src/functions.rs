//! The functions of templates: tables by subject, bound to one render. None does I/O but `file` of
//! a dialect that says so and confd's look-ups.

mod ask;
mod codec;
mod confd;
mod lists;
mod math;
mod method;
mod missing;
mod sprig;
mod sprig_lists;
mod text;

use crate::scene::Scene;
use crate::value;
use gotmpl::{FuncMap, TemplateError, Value};
use model::limits::TEMPLATE_VALUE_BYTES_MAX;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whose functions a template may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// consul-template's.
    Consul,
    /// confd's.
    Confd,
}

/// The function that calls of methods become; no template can name it.
pub(crate) const METHOD: &str = "\u{0}method";
/// Methods that values have.
pub(crate) const METHODS: [&str; 11] = [
    "Contains",
    "Key",
    "Get",
    "Set",
    "SetX",
    "MapSet",
    "MapSetX",
    "MapValues",
    "Format",
    "Unix",
    "Exists",
];

/// Go's own functions, which the engine brings.
const BUILT_IN: [&str; 19] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "print", "printf", "println", "len",
    "index", "slice", "call", "html", "js", "urlquery",
];

type Outcome = Result<Value, TemplateError>;
type Body = fn(&Call<'_>) -> Outcome;
type Table = &'static [(&'static str, Body)];

const CONSUL: [Table; 9] = [
    ask::TABLE,
    text::TABLE,
    lists::TABLE,
    codec::TABLE,
    math::TABLE,
    method::TABLE,
    missing::TABLE,
    sprig::TABLE,
    sprig_lists::TABLE,
];
const CONFD: [Table; 2] = [confd::TABLE, method::TABLE];

fn tables(dialect: Dialect) -> &'static [Table] {
    match dialect {
        Dialect::Consul => &CONSUL,
        Dialect::Confd => &CONFD,
    }
}

/// All names that a template of the dialect may call.
#[must_use]
pub fn names(dialect: Dialect) -> BTreeSet<&'static str> {
    let ours = tables(dialect).iter().flat_map(|table| table.iter().map(|(name, _)| *name));
    BUILT_IN.into_iter().chain(ours.filter(|name| *name != METHOD)).collect()
}

/// The functions for one render.
#[must_use]
pub fn bind(scene: &Arc<Scene>, dialect: Dialect) -> FuncMap {
    let mut map = FuncMap::new();
    for (name, body) in tables(dialect).iter().flat_map(|table| table.iter()) {
        let scene = Arc::clone(scene);
        let bound = move |args: &[Value]| body(&Call { scene: &scene, dialect, name, args });
        map.insert((*name).to_owned(), Arc::new(bound));
    }
    map
}

/// One call.
struct Call<'a> {
    scene: &'a Arc<Scene>,
    dialect: Dialect,
    name: &'static str,
    args: &'a [Value],
}

impl Call<'_> {
    fn fail(&self, why: impl std::fmt::Display) -> TemplateError {
        TemplateError::Exec(format!("{}: {why}", self.name.trim_start_matches('\0')))
    }

    /// Between so many arguments.
    fn count(&self, min: usize, max: usize) -> Result<(), TemplateError> {
        let n = self.args.len();
        if (min..=max).contains(&n) {
            return Ok(());
        }
        let want = if min == max { min.to_string() } else { format!("{min} to {max}") };
        Err(self.fail(format!("takes {want} arguments, not {n}")))
    }

    fn arg(&self, at: usize) -> Result<&Value, TemplateError> {
        self.args.get(at).ok_or_else(|| self.fail(format!("lacks argument {}", at + 1)))
    }

    fn last(&self) -> Result<&Value, TemplateError> {
        self.args.last().ok_or_else(|| self.fail("lacks its argument"))
    }

    /// Text; a key as `key` gives it counts as its value.
    fn text(&self, at: usize) -> Result<&str, TemplateError> {
        self.as_text(self.arg(at)?)
    }

    fn as_text<'v>(&self, value: &'v Value) -> Result<&'v str, TemplateError> {
        match value {
            Value::String(text) => Ok(text),
            Value::Nil => Ok(""),
            other => Err(self.fail(format!("expected text, not {}", other.type_name()))),
        }
    }

    /// Anything, as it would be printed.
    fn shown(&self, at: usize) -> Result<Cow<'_, str>, TemplateError> {
        Ok(match self.arg(at)? {
            Value::String(text) => Cow::Borrowed(text),
            Value::Nil => Cow::Borrowed(""),
            other => Cow::Owned(other.to_string()),
        })
    }

    fn int(&self, at: usize) -> Result<i64, TemplateError> {
        self.as_int(self.arg(at)?)
    }

    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and whole is checked")]
    fn as_int(&self, value: &Value) -> Result<i64, TemplateError> {
        match value {
            Value::Int(n) => Ok(*n),
            Value::Uint(n) => {
                i64::try_from(*n).map_err(|_large| self.fail(format!("{n} is too large")))
            }
            Value::Float(n) if n.fract() == 0.0 => Ok(*n as i64),
            Value::String(text) => {
                text.parse().map_err(|_no| self.fail(format!("{text:?} is no whole number")))
            }
            other => Err(self.fail(format!("expected a number, not {}", other.type_name()))),
        }
    }

    /// A size or a count that is not too large.
    fn size(&self, at: usize) -> Result<usize, TemplateError> {
        let n = self.int(at)?;
        usize::try_from(n)
            .ok()
            .filter(|n| *n <= TEMPLATE_VALUE_BYTES_MAX)
            .ok_or_else(|| self.fail(format!("{n} is below 0 or above {TEMPLATE_VALUE_BYTES_MAX}")))
    }

    fn list(&self, at: usize) -> Result<&[Value], TemplateError> {
        self.as_list(self.arg(at)?)
    }

    fn as_list<'v>(&self, value: &'v Value) -> Result<&'v [Value], TemplateError> {
        match value {
            Value::List(items) => Ok(items),
            Value::Nil => Ok(&[]),
            other => Err(self.fail(format!("expected a list, not {}", other.type_name()))),
        }
    }

    fn map(
        &self,
        at: usize,
    ) -> Result<Arc<std::collections::BTreeMap<Arc<str>, Value>>, TemplateError> {
        match self.arg(at)? {
            Value::Map(fields) => Ok(Arc::clone(fields)),
            Value::Nil => Ok(Arc::default()),
            other => Err(self.fail(format!("expected a map, not {}", other.type_name()))),
        }
    }

    /// Text that was made, unless it is too long.
    fn made(&self, text: String) -> Outcome {
        if text.len() > TEMPLATE_VALUE_BYTES_MAX {
            return Err(self.fail(format!("makes more than {TEMPLATE_VALUE_BYTES_MAX} bytes")));
        }
        Ok(value::text(text))
    }

    fn pattern(&self, text: &str) -> Result<regex::Regex, TemplateError> {
        self.scene.pattern(text).map_err(|why| self.fail(why))
    }
}

#[cfg(test)]
#[path = "functions/tests.rs"]
pub(crate) mod tests;

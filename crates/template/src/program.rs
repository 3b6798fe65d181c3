//! A template, parsed and checked: unknown functions are found at once, calls of methods
//! (`.Tags.Contains "x"`) become calls of functions, and a render is a pure function of a view.

use crate::error::Error;
use crate::functions::{self, Dialect};
use crate::query::Query;
use crate::scene::{Missing, Scene, View};
use gotmpl::parse::{
    BranchNode, CommandNode, Expr, ListNode, Node, Parser, PipeNode, SmolStr, is_empty_tree,
};
use gotmpl::{MissingKey, Template, TemplateError, Value};
use model::limits::{
    TEMPLATE_FILE_BYTES_MAX, TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_STACK_BYTES, TEMPLATE_TURNS_MAX,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Name under which the template itself is kept; no `define` can have it.
const ROOT: &str = "\u{0}";

/// A parsed template.
#[derive(Clone)]
pub struct Program {
    name: String,
    base: Arc<Template>,
    dialect: Dialect,
}

/// How it is read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which functions there are.
    pub dialect: Dialect,
    /// Delimiters.
    pub delimiters: (String, String),
    /// A key that a map lacks is an error.
    pub error_on_missing_key: bool,
    /// Functions that it may not call.
    pub denied: Vec<String>,
}

/// What a render came to.
#[derive(Debug)]
pub struct Rendered {
    /// The text, which is whole only when nothing is missing.
    pub text: Result<String, Error>,
    /// Everything that it asked for.
    pub used: BTreeSet<Query>,
    /// What of it is missing.
    pub missing: BTreeMap<Query, Missing>,
}

impl Program {
    /// Reads a template.
    ///
    /// # Errors
    /// `Error::Parse` with line and column; `Error::TooLarge`.
    pub fn parse(name: &str, text: &str, reading: &Reading) -> Result<Self, Error> {
        if text.len() > TEMPLATE_FILE_BYTES_MAX {
            return Err(Error::TooLarge { what: name.to_owned(), max: TEMPLATE_FILE_BYTES_MAX });
        }
        let wrong = |why: String| Error::Parse { name: name.to_owned(), why };
        let (left, right) = &reading.delimiters;
        if left.is_empty() || right.is_empty() {
            return Err(wrong("a delimiter is empty".into()));
        }
        let parser = Parser::new(text, left, right).map_err(|e| wrong(e.to_string()))?;
        let (mut tree, defines) = parser.parse().map_err(|e| wrong(e.to_string()))?;
        let known = functions::names(reading.dialect);
        let check = Check { known: &known, denied: &reading.denied };
        check.list(&mut tree).map_err(wrong)?;
        let mut template = Template::new(name).max_range_iters(TEMPLATE_TURNS_MAX).missing_key(
            if reading.error_on_missing_key { MissingKey::Error } else { MissingKey::Invalid },
        );
        let mut named = BTreeSet::new();
        for mut define in defines {
            check.list(&mut define.body).map_err(wrong)?;
            let empty = define.body.nodes.iter().all(is_empty_tree);
            if !named.insert(define.name.to_string()) && !empty {
                return Err(wrong(format!("template {:?} is defined twice", define.name.as_str())));
            }
            if !empty || template.lookup(&define.name).is_none() {
                template = template.add_parse_tree(&define.name, define.body);
            }
        }
        Ok(Self {
            name: name.to_owned(),
            base: Arc::new(template.add_parse_tree(ROOT, tree)),
            dialect: reading.dialect,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Renders it with what is known. On a thread of its own: nested templates need a deep stack.
    #[must_use]
    pub fn render(&self, view: View) -> Rendered {
        let scene = Arc::new(Scene::new(view, Arc::clone(&self.base)));
        let inside = Arc::clone(&scene);
        let run = || {
            let functions = functions::bind(&inside, self.dialect);
            execute(&self.base, functions, ROOT, &Value::Nil)
        };
        let text = std::thread::scope(|scope| {
            let builder =
                std::thread::Builder::new().name("render".into()).stack_size(TEMPLATE_STACK_BYTES);
            match builder.spawn_scoped(scope, run) {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err("the render broke off".into())),
                Err(error) => Err(format!("no thread to render on: {error}")),
            }
        });
        let (used, missing) = scene.asked();
        let text = text.map_err(|why| Error::Render { name: self.name.clone(), why });
        Rendered { text, used, missing }
    }
}

/// Executes one tree of a template with its functions.
///
/// # Errors
/// Why it could not be, in words.
pub(crate) fn execute(
    base: &Template,
    functions: gotmpl::FuncMap,
    tree: &str,
    dot: &Value,
) -> Result<String, String> {
    let mut out = Limited { text: String::new(), full: false };
    match base.clone().funcs(functions).execute_template_fmt(&mut out, tree, dot) {
        Ok(()) => Ok(out.text),
        Err(_) if out.full => Err(format!("renders more than {TEMPLATE_OUTPUT_BYTES_MAX} bytes")),
        Err(TemplateError::Exec(why)) => Err(why),
        Err(error) => Err(error.to_string()),
    }
}

struct Limited {
    text: String,
    full: bool,
}

impl std::fmt::Write for Limited {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        if self.text.len() + piece.len() > TEMPLATE_OUTPUT_BYTES_MAX {
            self.full = true;
            return Err(std::fmt::Error);
        }
        self.text.push_str(piece);
        Ok(())
    }
}

/// Looks at every command of a tree: is its function there, and is it a method?
struct Check<'a> {
    known: &'a BTreeSet<&'static str>,
    denied: &'a [String],
}

impl Check<'_> {
    fn list(&self, list: &mut ListNode) -> Result<(), String> {
        list.nodes.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&self, node: &mut Node) -> Result<(), String> {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => self.pipe(&mut action.pipe),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => self.branch(branch),
            Node::Template(call) => call.pipe.as_mut().map_or(Ok(()), |pipe| self.pipe(pipe)),
            Node::Define(define) => self.list(&mut define.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn branch(&self, branch: &mut BranchNode) -> Result<(), String> {
        self.pipe(&mut branch.pipe)?;
        self.list(&mut branch.body)?;
        branch.else_body.as_mut().map_or(Ok(()), |body| self.list(body))
    }

    fn pipe(&self, pipe: &mut PipeNode) -> Result<(), String> {
        for (at, command) in pipe.commands.iter_mut().enumerate() {
            for argument in &mut command.args {
                self.expression(argument)?;
            }
            if at > 0 || command.args.len() > 1 {
                method(command);
            }
        }
        Ok(())
    }

    fn expression(&self, expression: &mut Expr) -> Result<(), String> {
        match expression {
            Expr::Identifier(pos, name) => {
                if self.denied.iter().any(|denied| denied == name.as_str()) {
                    return Err(format!("line {}: function {name} is denied", pos.line));
                }
                if self.known.contains(name.as_str()) {
                    return Ok(());
                }
                let near = self
                    .known
                    .iter()
                    .min_by_key(|known| strsim::levenshtein(known, name))
                    .filter(|known| strsim::levenshtein(known, name) <= 2);
                let hint = near.map_or(String::new(), |near| format!(", did you mean {near}?"));
                Err(format!("line {}: function {name:?} is not defined{hint}", pos.line))
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expression(inner),
            _ => Ok(()),
        }
    }
}

/// `.Tags.Contains "x"` becomes a call of the function for methods, with what it is a method of.
fn method(command: &mut CommandNode) {
    let Some(first) = command.args.first() else { return };
    let (pos, fields) = match first {
        Expr::Field(pos, fields) | Expr::Variable(pos, _, fields) | Expr::Chain(pos, _, fields) => {
            (*pos, fields)
        }
        _ => return,
    };
    let Some((name, before)) = fields.split_last() else { return };
    if !functions::METHODS.contains(&name.as_str()) {
        return;
    }
    let before = before.to_vec();
    let of = match first {
        Expr::Field(_, _) if before.is_empty() => Expr::Dot(pos),
        Expr::Field(_, _) => Expr::Field(pos, before),
        Expr::Variable(_, variable, _) => Expr::Variable(pos, variable.clone(), before),
        Expr::Chain(_, inner, _) if before.is_empty() => (**inner).clone(),
        Expr::Chain(_, inner, _) => Expr::Chain(pos, inner.clone(), before),
        _ => return,
    };
    let name = Expr::String(pos, Arc::from(name.as_str()));
    let call = Expr::Identifier(pos, SmolStr::new_static(functions::METHOD));
    command.args.splice(0..1, [call, name, of]);
}

#[cfg(test)]
#[path = "program/tests.rs"]
mod tests;

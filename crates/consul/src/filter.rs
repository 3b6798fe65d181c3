//! The filter language of `?filter=`: an expression over the fields of one object of a reply. It is
//! compiled against the shape of that object, so that a wrong name is told and not just never true.

mod eval;
mod shape;
mod syntax;

pub use shape::Shape;
pub(crate) use shape::{CATALOG_SERVICE, CHECK, HEALTH_SERVICE, NODE, SERVICE};
pub use syntax::{Expression, Operator, Test};

use model::limits::{FILTER_BYTES_MAX, FILTER_PATTERN_BYTES_MAX, FILTER_PATTERNS_MAX};
use serde_json::Value;

/// An expression that fits a shape.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Node,
    shape: &'static Shape,
}

#[derive(Clone, Debug)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Leaf(Leaf),
}

/// One test with its value in the kind that its field has.
#[derive(Clone, Debug)]
struct Leaf {
    path: Vec<String>,
    operator: Operator,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    Nothing,
    Text(String),
    Number(i64),
    Bool(bool),
    Pattern(Box<regex::Regex>),
}

impl Filter {
    /// Reads an expression over objects of a shape.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for its writer: the place of a wrong letter, a name that the object
    /// has not, an operator that its field does not take, a value that is none of its kind.
    pub fn parse(text: &str, shape: &'static Shape) -> Result<Self, String> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(format!(
                "the expression has {} bytes and at most {FILTER_BYTES_MAX} are read: make it shorter",
                text.len()
            ));
        }
        let expression: Expression = text.parse()?;
        let patterns = patterns(&expression);
        if patterns > FILTER_PATTERNS_MAX {
            return Err(format!(
                "the expression has {patterns} patterns and at most {FILTER_PATTERNS_MAX} are read"
            ));
        }
        Ok(Self { root: compile(&expression, shape)?, shape })
    }

    /// Is it true of this object, which has the shape that the filter was made for?
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        eval::holds(&self.root, object, self.shape)
    }
}

/// How many tests are by a regular expression.
fn patterns(expression: &Expression) -> usize {
    match expression {
        Expression::Or(list) | Expression::And(list) => list.iter().map(patterns).sum(),
        Expression::Not(inner) => patterns(inner),
        Expression::Test(test) => {
            usize::from(matches!(test.operator, Operator::Matches | Operator::NotMatches))
        }
    }
}

fn compile(expression: &Expression, shape: &'static Shape) -> Result<Node, String> {
    let all = |list: &[Expression]| -> Result<Vec<Node>, String> {
        list.iter().map(|one| compile(one, shape)).collect()
    };
    Ok(match expression {
        Expression::Or(list) => Node::Any(all(list)?),
        Expression::And(list) => Node::All(all(list)?),
        Expression::Not(inner) => Node::Not(Box::new(compile(inner, shape)?)),
        Expression::Test(test) => Node::Leaf(leaf(test, shape)?),
    })
}

fn leaf(test: &Test, shape: &'static Shape) -> Result<Leaf, String> {
    let selector = syntax::selector_text(&test.selector);
    let found = shape.at(&test.selector).ok_or_else(|| {
        let names = shape.names().join(", ");
        format!("Selector {selector:?} is not valid; there are: {names}")
    })?;
    if !found.takes(test.operator) {
        return Err(format!(
            "Invalid match operator {:?} for selector {selector:?}",
            test.operator.as_str()
        ));
    }
    let value = test.value.as_deref().unwrap_or_default();
    let wanted = match (test.operator, found) {
        (Operator::IsEmpty | Operator::IsNotEmpty, _) => Wanted::Nothing,
        (Operator::Matches | Operator::NotMatches, _) => Wanted::Pattern(Box::new(pattern(value)?)),
        (_, Shape::Number) => Wanted::Number(value.parse().map_err(|error| {
            format!("Failed to convert {value:?} of selector {selector:?} to an integer: {error}")
        })?),
        (_, Shape::Bool) => Wanted::Bool(parse_bool(value).ok_or_else(|| {
            format!("Failed to convert {value:?} of selector {selector:?} to true or false")
        })?),
        _ => Wanted::Text(value.to_owned()),
    };
    Ok(Leaf { path: test.selector.clone(), operator: test.operator, wanted })
}

fn pattern(text: &str) -> Result<regex::Regex, String> {
    let builder = &mut regex::RegexBuilder::new(text);
    let built = builder.size_limit(FILTER_PATTERN_BYTES_MAX).build();
    built.map_err(|error| format!("Failed to compile regular expression {text:?}: {error}"))
}

/// The words that Go takes for a bool.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

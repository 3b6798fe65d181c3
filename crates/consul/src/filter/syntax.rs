//! Text of the filter language to an expression and back. Nothing here knows which names there are.

use model::limits::FILTER_DEPTH_MAX;
use std::fmt;
use std::str::FromStr;

/// An expression. Lists have at least two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// One of them holds.
    Or(Vec<Expression>),
    /// All of them hold.
    And(Vec<Expression>),
    /// It does not hold.
    Not(Box<Expression>),
    /// A test of one field.
    Test(Test),
}

/// A test of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The way to the field.
    pub selector: Vec<String>,
    /// How it is tested.
    pub operator: Operator,
    /// With what; `None` for `is empty` and `is not empty`.
    pub value: Option<String>,
}

/// How a field is tested. `contains` is `In` with its sides turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `in`, `contains`
    In,
    /// `not in`, `not contains`
    NotIn,
    /// `matches`
    Matches,
    /// `not matches`
    NotMatches,
    /// `is empty`
    IsEmpty,
    /// `is not empty`
    IsNotEmpty,
}

impl Operator {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::In => "in",
            Self::NotIn => "not in",
            Self::Matches => "matches",
            Self::NotMatches => "not matches",
            Self::IsEmpty => "is empty",
            Self::IsNotEmpty => "is not empty",
        }
    }
}

/// A selector as it is written.
pub(super) fn selector_text(selector: &[String]) -> String {
    let mut text = String::new();
    for (at, part) in selector.iter().enumerate() {
        match (at, is_identifier(part)) {
            (0, _) => text.push_str(part),
            (_, true) => {
                text.push('.');
                text.push_str(part);
            }
            (_, false) => {
                text.push('[');
                text.push_str(&quoted(part));
                text.push(']');
            }
        }
    }
    text
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(is_letter)
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'/'
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, list: &[Self], word: &str| {
            f.write_str("(")?;
            for (at, one) in list.iter().enumerate() {
                if at > 0 {
                    write!(f, " {word} ")?;
                }
                write!(f, "{one}")?;
            }
            f.write_str(")")
        };
        match self {
            Self::Or(list) => joined(f, list, "or"),
            Self::And(list) => joined(f, list, "and"),
            Self::Not(inner) => write!(f, "not {inner}"),
            Self::Test(test) => {
                let (selector, operator) = (selector_text(&test.selector), test.operator.as_str());
                match (&test.value, test.operator) {
                    (Some(value), Operator::In | Operator::NotIn) => {
                        write!(f, "{} {operator} {selector}", quoted(value))
                    }
                    (Some(value), _) => write!(f, "{selector} {operator} {}", quoted(value)),
                    (None, _) => write!(f, "{selector} {operator}"),
                }
            }
        }
    }
}

impl FromStr for Expression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let expression = reader.or()?;
        reader.space();
        match reader.rest() {
            "" => Ok(expression),
            _ => Err(reader.wrong("the end, \"and\" or \"or\"")),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// What stands before an operator.
enum Left {
    /// A name: a selector, or a value without quotes.
    Selector(Vec<String>, String),
    Value(String),
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, wanted: &str) -> String {
        let near: String = self.rest().chars().take(20).collect();
        let column = self.text.get(..self.at).map_or(0, |before| before.chars().count()) + 1;
        match near.is_empty() {
            true => format!("the expression ends where {wanted} should be"),
            false => format!("at letter {column}, near {near:?}: {wanted} should be there"),
        }
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Takes the text if it comes next.
    fn take(&mut self, text: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Takes the words if they come next, each to its end.
    fn words(&mut self, words: &[&str]) -> bool {
        let from = self.at;
        for word in words {
            let ends = self.take(word) && !self.rest().bytes().next().is_some_and(is_letter);
            if !ends {
                self.at = from;
                return false;
            }
        }
        true
    }

    fn or(&mut self) -> Result<Expression, String> {
        let mut list = vec![self.and()?];
        while self.words(&["or"]) {
            list.push(self.and()?);
        }
        Ok(one_of(list, Expression::Or))
    }

    fn and(&mut self) -> Result<Expression, String> {
        let mut list = vec![self.not()?];
        while self.words(&["and"]) {
            list.push(self.not()?);
        }
        Ok(one_of(list, Expression::And))
    }

    fn not(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return Err(format!(
                "it is deeper than {FILTER_DEPTH_MAX}: use fewer brackets and nots"
            ));
        }
        let found = if self.words(&["not"]) {
            Ok(Expression::Not(Box::new(self.not()?)))
        } else if self.take("(") {
            let inner = self.or()?;
            match self.take(")") {
                true => Ok(inner),
                false => Err(self.wrong("\")\"")),
            }
        } else {
            self.test().map(Expression::Test)
        };
        self.depth -= 1;
        found
    }

    fn test(&mut self) -> Result<Test, String> {
        let left = self.left()?;
        let operator = self.operator()?;
        match (operator, left) {
            (Found::In(operator), left) => {
                let value = match left {
                    Left::Selector(_, text) | Left::Value(text) => text,
                };
                self.space();
                let (selector, _) = self.selector()?;
                Ok(Test { selector, operator, value: Some(value) })
            }
            (_, Left::Value(_)) => Err(self.wrong("\"in\" or \"not in\" behind a value")),
            (Found::Alone(operator), Left::Selector(selector, _)) => {
                Ok(Test { selector, operator, value: None })
            }
            (Found::Value(operator), Left::Selector(selector, _)) => {
                let value = match self.left()? {
                    Left::Selector(_, text) | Left::Value(text) => text,
                };
                Ok(Test { selector, operator, value: Some(value) })
            }
        }
    }

    fn operator(&mut self) -> Result<Found, String> {
        for text in ["==", "!="] {
            if self.take(text) {
                let equal = text == "==";
                return Ok(Found::Value(if equal { Operator::Equal } else { Operator::NotEqual }));
            }
        }
        for (words, found) in [
            (&["is", "empty"][..], Found::Alone(Operator::IsEmpty)),
            (&["is", "not", "empty"], Found::Alone(Operator::IsNotEmpty)),
            (&["in"], Found::In(Operator::In)),
            (&["not", "in"], Found::In(Operator::NotIn)),
            (&["contains"], Found::Value(Operator::In)),
            (&["not", "contains"], Found::Value(Operator::NotIn)),
            (&["matches"], Found::Value(Operator::Matches)),
            (&["not", "matches"], Found::Value(Operator::NotMatches)),
        ] {
            if self.words(words) {
                return Ok(found);
            }
        }
        Err(self.wrong(
            "an operator (==, !=, in, not in, contains, not contains, matches, not matches, \
             is empty, is not empty)",
        ))
    }

    /// A selector, a text or a number.
    fn left(&mut self) -> Result<Left, String> {
        self.space();
        match self.rest().bytes().next() {
            Some(b'"' | b'`') => Ok(Left::Value(self.text()?)),
            Some(b'-' | b'0'..=b'9') => Ok(Left::Value(self.number()?)),
            _ => self.selector().map(|(selector, text)| Left::Selector(selector, text)),
        }
    }

    /// A selector, and how it was written.
    fn selector(&mut self) -> Result<(Vec<String>, String), String> {
        let from = self.at;
        let mut parts = vec![self.identifier()?];
        loop {
            if self.rest().starts_with('.') {
                self.at += 1;
                parts.push(self.identifier()?);
            } else if self.rest().starts_with('[') {
                self.at += 1;
                self.space();
                parts.push(self.text()?);
                if !self.take("]") {
                    return Err(self.wrong("\"]\""));
                }
            } else {
                let written = self.text.get(from..self.at).unwrap_or_default();
                return Ok((parts, written.to_owned()));
            }
        }
    }

    fn identifier(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| !is_letter(byte)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(self.wrong("a name, a \"text\" or a number"));
        }
        self.at += end;
        Ok(word.to_owned())
    }

    fn number(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !matches!(c, '-' | '.' | '0'..='9')).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let ends = rest.as_bytes().get(end).is_none_or(|b| b.is_ascii_whitespace() || *b == b')');
        if !ends || word.parse::<f64>().is_err() {
            return Err(self.wrong("a number"));
        }
        self.at += end;
        Ok(word.to_owned())
    }

    /// A text in double quotes with Go's escapes, or in back quotes as it is.
    fn text(&mut self) -> Result<String, String> {
        let rest = self.rest();
        if let Some(raw) = rest.strip_prefix('`') {
            let end = raw.find('`').ok_or_else(|| self.wrong("a closing back quote"))?;
            self.at += end + 2;
            return Ok(raw.get(..end).unwrap_or_default().to_owned());
        }
        let body = rest.strip_prefix('"').ok_or_else(|| self.wrong("a \"text\""))?;
        let mut out = String::new();
        let mut letters = body.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += at + 2;
                    return Ok(out);
                }
                '\\' => match letters.next().map(|(_, letter)| letter) {
                    Some('n') => out.push('\n'),
                    Some('r') => out.push('\r'),
                    Some('t') => out.push('\t'),
                    Some('"') => out.push('"'),
                    Some('\\') => out.push('\\'),
                    Some(digits @ ('x' | 'u' | 'U')) => {
                        let count = match digits {
                            'x' => 2,
                            'u' => 4,
                            _ => 8,
                        };
                        let hex: String =
                            letters.by_ref().take(count).map(|(_, letter)| letter).collect();
                        let code =
                            u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == count);
                        let letter = code.and_then(char::from_u32);
                        out.push(letter.ok_or_else(|| self.wrong("a letter's number in hex"))?);
                    }
                    _ => {
                        return Err(self.wrong("a text with escapes \\n \\r \\t \\\" \\\\ \\x \\u"));
                    }
                },
                _ => out.push(letter),
            }
        }
        Err(self.wrong("a closing quote"))
    }
}

/// An operator with what it wants behind it.
#[derive(Clone, Copy)]
enum Found {
    Value(Operator),
    In(Operator),
    Alone(Operator),
}

fn one_of(mut list: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match list.len() {
        1 => list.remove(0),
        _ => many(list),
    }
}

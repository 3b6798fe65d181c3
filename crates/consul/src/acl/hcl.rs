//! The rules of a policy as text: as much of HCL as policies have, and JSON by the same grammar.
//! Blocks with labels, attributes, strings, lists, objects, comments. Nothing is interpolated.

use model::limits::{ACL_RULES_BYTES_MAX, ACL_RULES_DEPTH_MAX};
use std::iter::Peekable;
use std::str::Chars;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A text; a number or a bool too, as it was written.
    Text(String),
    /// Several.
    List(Vec<Item>),
    /// An object or a block; a key may be there several times.
    Object(Vec<(String, Item)>),
}

/// Reads all of it.
///
/// # Errors
/// What is wrong, with its line, for people.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Item)>, String> {
    if text.len() > ACL_RULES_BYTES_MAX {
        return Err(format!("the rules have {} bytes, {ACL_RULES_BYTES_MAX} at most", text.len()));
    }
    let mut reader = Reader { rest: text.chars().peekable(), line: 1, depth: 0 };
    reader.whole().map_err(|what| format!("line {}: {what}", reader.line))
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    line: usize,
    depth: usize,
}

type Read<T> = Result<T, String>;

impl Reader<'_> {
    fn whole(&mut self) -> Read<Vec<(String, Item)>> {
        self.skip()?;
        if self.rest.peek() != Some(&'{') {
            return self.entries(None);
        }
        self.next();
        let all = self.entries(Some('}'))?;
        self.skip()?;
        match self.rest.peek() {
            None => Ok(all),
            Some(c) => Err(format!("{c:?} behind the end")),
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// Over space and comments.
    fn skip(&mut self) -> Read<()> {
        while let Some(&c) = self.rest.peek() {
            match c {
                c if c.is_whitespace() => drop(self.next()),
                '#' => self.skip_line(),
                '/' => {
                    self.next();
                    match self.next() {
                        Some('/') => self.skip_line(),
                        Some('*') => self.skip_block()?,
                        _ => return Err("a single '/'".into()),
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|c| c != '\n') {}
    }

    fn skip_block(&mut self) -> Read<()> {
        let mut last = ' ';
        while let Some(c) = self.next() {
            if (last, c) == ('*', '/') {
                return Ok(());
            }
            last = c;
        }
        Err("a comment without its end".into())
    }

    /// One bracket or label further in; who comes out of it takes one from `depth`.
    fn deeper(&mut self) -> Read<()> {
        self.depth += 1;
        match self.depth > ACL_RULES_DEPTH_MAX {
            true => {
                Err(format!("more than {ACL_RULES_DEPTH_MAX} brackets and labels in each other"))
            }
            false => Ok(()),
        }
    }

    fn entries(&mut self, end: Option<char>) -> Read<Vec<(String, Item)>> {
        self.deeper()?;
        let mut all = vec![];
        loop {
            self.skip()?;
            match self.rest.peek() {
                None if end.is_none() => break,
                None => return Err("the end is missing: a bracket is open".into()),
                Some(c) if Some(*c) == end => {
                    self.next();
                    break;
                }
                Some(',') => drop(self.next()),
                Some(_) => all.push(self.entry()?),
            }
        }
        self.depth -= 1;
        Ok(all)
    }

    /// `key = value`, `"key": value`, `key { … }`, `key "label" { … }`.
    fn entry(&mut self) -> Read<(String, Item)> {
        let key = self.word()?;
        self.skip()?;
        match self.rest.peek() {
            Some('=' | ':') => {
                self.next();
                Ok((key, self.value()?))
            }
            Some('{') => Ok((key, self.value()?)),
            Some('"') => {
                self.deeper()?;
                let label = self.entry()?;
                self.depth -= 1;
                Ok((key, Item::Object(vec![label])))
            }
            _ => Err(format!("{key:?} without a value")),
        }
    }

    fn value(&mut self) -> Read<Item> {
        self.skip()?;
        match self.rest.peek() {
            Some('{') => {
                self.next();
                Ok(Item::Object(self.entries(Some('}'))?))
            }
            Some('[') => {
                self.next();
                self.list()
            }
            _ => Ok(Item::Text(self.word()?)),
        }
    }

    fn list(&mut self) -> Read<Item> {
        self.deeper()?;
        let mut all = vec![];
        loop {
            self.skip()?;
            match self.rest.peek() {
                None => return Err("a list without its end".into()),
                Some(']') => {
                    self.next();
                    break;
                }
                Some(',') => drop(self.next()),
                Some(_) => all.push(self.value()?),
            }
        }
        self.depth -= 1;
        Ok(Item::List(all))
    }

    /// A string, or letters, digits, `_`, `-` and `.`.
    fn word(&mut self) -> Read<String> {
        if self.rest.peek() == Some(&'"') {
            self.next();
            return self.string();
        }
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || "_-.".contains(*c)) {
            word.push(c);
        }
        match self.rest.peek() {
            _ if !word.is_empty() => Ok(word),
            Some(c) => Err(format!("{c:?} where a name or a value is to be")),
            None => Err("it ends where a name or a value is to be".into()),
        }
    }

    fn string(&mut self) -> Read<String> {
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err("a string without its end".into()),
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some(c @ ('"' | '\\' | '/')) => text.push(c),
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('u') => text.push(self.escaped()?),
                    _ => return Err("an escape that is none".into()),
                },
                Some('$') if self.rest.peek() == Some(&'{') => {
                    return Err("${…} is not carried out in rules".into());
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Read<char> {
        let digits: String = (0..4).filter_map(|_| self.next()).collect();
        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        code.ok_or_else(|| format!("\\u{digits} is no character"))
    }
}

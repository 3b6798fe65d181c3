//! The subset of HCL that consul-template's files use, and JSON by the same grammar: blocks,
//! attributes, strings with escapes, heredocs, lists, objects, numbers, booleans, comments. Every
//! key keeps its line. Nothing is interpolated.

use model::limits::{TEMPLATE_DEPTH_MAX, TEMPLATE_FILE_BYTES_MAX};

/// A value of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Text.
    Text(String),
    /// A number, as it was written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// JSON's `null`.
    Null,
    /// A list.
    List(Vec<Item>),
    /// A block or an object; a key may be there several times.
    Object(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its line, from 1.
    pub line: usize,
    /// The value.
    pub item: Item,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The line, from 1.
    pub line: usize,
    /// What, and what is expected.
    pub what: String,
}

/// Reads a file.
///
/// # Errors
/// The first thing that is wrong, with its line; a file above `TEMPLATE_FILE_BYTES_MAX`.
pub fn parse(text: &str) -> Result<Vec<Entry>, Wrong> {
    if text.len() > TEMPLATE_FILE_BYTES_MAX {
        let what = format!("the file has more than {TEMPLATE_FILE_BYTES_MAX} bytes");
        return Err(Wrong { line: 1, what });
    }
    let mut reader = Reader { chars: text.chars().collect(), at: 0, line: 1, depth: 0 };
    reader.skip();
    if reader.peek() == Some('{') {
        reader.at += 1;
        let entries = reader.entries(Some('}'))?;
        reader.skip();
        return match reader.peek() {
            None => Ok(entries),
            Some(c) => Err(reader.wrong(format!("{c:?} after the end of the object"))),
        };
    }
    reader.entries(None)
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
    depth: usize,
}

impl Reader {
    fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong { line: self.line, what: what.into() }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn after(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    /// Over white space, commas between entries are the caller's, and comments.
    fn skip(&mut self) {
        loop {
            match (self.peek(), self.after(1)) {
                (Some(c), _) if c.is_whitespace() || c == '\u{feff}' => {
                    self.next();
                }
                (Some('#'), _) | (Some('/'), Some('/')) => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                (Some('/'), Some('*')) => {
                    self.at += 2;
                    while self.peek().is_some()
                        && !(self.peek() == Some('*') && self.after(1) == Some('/'))
                    {
                        self.next();
                    }
                    self.at = (self.at + 2).min(self.chars.len());
                }
                _ => return,
            }
        }
    }

    fn entries(&mut self, end: Option<char>) -> Result<Vec<Entry>, Wrong> {
        let mut entries = vec![];
        loop {
            self.skip();
            while matches!(self.peek(), Some(',' | ';')) {
                self.at += 1;
                self.skip();
            }
            match (self.peek(), end) {
                (None, None) => return Ok(entries),
                (None, Some(end)) => {
                    return Err(self.wrong(format!("the file ends before {end:?}")));
                }
                (Some(c), Some(end)) if c == end => {
                    self.at += 1;
                    return Ok(entries);
                }
                _ => entries.push(self.entry()?),
            }
        }
    }

    fn entry(&mut self) -> Result<Entry, Wrong> {
        let line = self.line;
        let key = self.key()?;
        self.blanks();
        match self.peek() {
            Some('=' | ':') => {
                self.at += 1;
                self.skip();
                let item = self.item()?;
                Ok(Entry { key, line, item })
            }
            Some('{') => {
                let item = self.item()?;
                Ok(Entry { key, line, item })
            }
            Some(c) if c == '"' || is_word(c) => {
                // A labelled block: the label is a key inside.
                self.enter()?;
                let inner = self.entry();
                self.depth -= 1;
                Ok(Entry { key, line, item: Item::Object(vec![inner?]) })
            }
            Some(c) => Err(self.wrong(format!("{c:?} after {key:?}: expected = or {{"))),
            None => Err(self.wrong(format!("the file ends after {key:?}"))),
        }
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|c| c == ' ' || c == '\t') {
            self.at += 1;
        }
    }

    fn key(&mut self) -> Result<String, Wrong> {
        match self.peek() {
            Some('"') => self.quoted(),
            Some(c) if is_word(c) => Ok(self.word()),
            Some(c) => Err(self.wrong(format!("{c:?} where a key is expected"))),
            None => Err(self.wrong("the file ends where a key is expected")),
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|c| is_word(*c)) {
            self.at += 1;
            word.push(c);
        }
        word
    }

    fn enter(&mut self) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > TEMPLATE_DEPTH_MAX {
            return Err(self.wrong(format!("nested deeper than {TEMPLATE_DEPTH_MAX}")));
        }
        Ok(())
    }

    fn item(&mut self) -> Result<Item, Wrong> {
        match self.peek() {
            Some('"') => Ok(Item::Text(self.quoted()?)),
            Some('<') if self.after(1) == Some('<') => Ok(Item::Text(self.heredoc()?)),
            Some('{') => {
                self.at += 1;
                self.enter()?;
                let entries = self.entries(Some('}'))?;
                self.depth -= 1;
                Ok(Item::Object(entries))
            }
            Some('[') => {
                self.at += 1;
                self.enter()?;
                let list = self.list()?;
                self.depth -= 1;
                Ok(Item::List(list))
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => {
                let word = self.word_of_number();
                if word.parse::<f64>().is_err() && !is_radix(&word) {
                    return Err(self.wrong(format!("{word:?} is no number; quote text")));
                }
                Ok(Item::Number(word))
            }
            Some(c) if is_word(c) => {
                let word = self.word();
                match word.as_str() {
                    "true" => Ok(Item::Bool(true)),
                    "false" => Ok(Item::Bool(false)),
                    "null" => Ok(Item::Null),
                    _ => Err(self.wrong(format!("{word:?} where a value is expected; quote text"))),
                }
            }
            Some(c) => Err(self.wrong(format!("{c:?} where a value is expected"))),
            None => Err(self.wrong("the file ends where a value is expected")),
        }
    }

    fn word_of_number(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|c| is_word(*c) || matches!(c, '+' | '.')) {
            self.at += 1;
            word.push(c);
        }
        word
    }

    fn list(&mut self) -> Result<Vec<Item>, Wrong> {
        let mut list = vec![];
        loop {
            self.skip();
            match self.peek() {
                Some(']') => {
                    self.at += 1;
                    return Ok(list);
                }
                None => return Err(self.wrong("the file ends before ']'")),
                _ => {}
            }
            list.push(self.item()?);
            self.skip();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(']') => {}
                Some(c) => return Err(self.wrong(format!("{c:?} in a list: expected , or ]"))),
                None => return Err(self.wrong("the file ends before ']'")),
            }
        }
    }

    fn quoted(&mut self) -> Result<String, Wrong> {
        let begun = self.line;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => {
                    let what = "text without a closing quote; use <<EOF for several lines";
                    return Err(Wrong { line: begun, what: what.into() });
                }
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Wrong> {
        let c = self.next().ok_or_else(|| self.wrong("the file ends after \\"))?;
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '"' | '\\' | '/' => c,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            'x' => self.code(2)?,
            _ => return Err(self.wrong(format!("\\{c} is no escape; write \\\\{c}"))),
        })
    }

    fn hex(&mut self, digits: usize) -> Result<u32, Wrong> {
        let mut code: u32 = 0;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(16));
            let digit = digit.ok_or_else(|| self.wrong("an escape needs hexadecimal digits"))?;
            code = code.wrapping_mul(16).wrapping_add(digit);
        }
        Ok(code)
    }

    fn code(&mut self, digits: usize) -> Result<char, Wrong> {
        let mut code = self.hex(digits)?;
        // JSON writes what is above 0xffff as two halves.
        if (0xd800..0xdc00).contains(&code)
            && (self.peek(), self.after(1)) == (Some('\\'), Some('u'))
        {
            self.at += 2;
            let low = self.hex(4)?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(code).ok_or_else(|| self.wrong("an escape that is no character"))
    }

    fn heredoc(&mut self) -> Result<String, Wrong> {
        let begun = self.line;
        self.at += 2;
        let indented = self.peek() == Some('-');
        if indented {
            self.at += 1;
        }
        let end = self.word();
        while self.peek().is_some_and(|c| c == '\r' || c == ' ') {
            self.at += 1;
        }
        if end.is_empty() || self.next() != Some('\n') {
            return Err(Wrong { line: begun, what: "<< needs a word and a new line".into() });
        }
        let mut lines: Vec<String> = vec![];
        loop {
            if self.peek().is_none() {
                return Err(Wrong { line: begun, what: format!("<<{end} without its {end}") });
            }
            let mut line = String::new();
            while let Some(c) = self.peek().filter(|c| *c != '\n') {
                self.at += 1;
                line.push(c);
            }
            if line.trim() == end {
                // The new line stays: it ends the entry.
                break;
            }
            if self.next().is_none() {
                return Err(Wrong { line: begun, what: format!("<<{end} without its {end}") });
            }
            lines.push(line);
        }
        if indented {
            let width = |line: &String| line.len() - line.trim_start_matches([' ', '\t']).len();
            let least = lines.iter().filter(|l| !l.trim().is_empty()).map(width).min().unwrap_or(0);
            for line in &mut lines {
                *line = line.chars().skip(least).collect();
            }
        }
        Ok(lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect())
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn is_radix(word: &str) -> bool {
    word.strip_prefix("0x").is_some_and(|hex| i64::from_str_radix(hex, 16).is_ok())
}

#[cfg(test)]
#[path = "hcl/tests.rs"]
mod tests;

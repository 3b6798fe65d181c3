//! `.env` and `env_file`: `KEY=value` lines with quotes, `export` and comments. Pure: text in,
//! pairs and remarks out; values are expanded by the caller's function.

/// One line that sets a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: String,
    /// `None` for a line without `=`: the value comes from the caller's environment.
    pub(crate) value: Option<String>,
    /// May `$VAR` in it be expanded? Not in single quotes.
    pub(crate) expands: bool,
    pub(crate) line: u32,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: &'static str,
    pub(crate) expected: &'static str,
}

/// Reads a file. With `raw`, everything behind `=` is the value.
pub(crate) fn parse(text: &str, raw: bool) -> Result<Vec<Pair>, BadLine> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut cursor = Cursor { rest: text, line: 1, line_start: text };
    let mut out = vec![];
    loop {
        cursor.blank();
        let Some(c) = cursor.peek() else { return Ok(out) };
        match c {
            '\n' => cursor.newline(),
            '#' => cursor.rest_of_line(),
            _ => out.extend(pair(&mut cursor, raw)?),
        }
    }
}

struct Cursor<'t> {
    rest: &'t str,
    line: u32,
    line_start: &'t str,
}

impl<'t> Cursor<'t> {
    fn peek(&self) -> Option<char> {
        let c = self.rest.chars().next()?;
        Some(if c == '\r' && self.rest[1..].starts_with('\n') { '\n' } else { c })
    }

    fn skip(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Over spaces and tabs.
    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn newline(&mut self) {
        self.rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest);
        self.line += 1;
        self.line_start = self.rest;
    }

    /// Up to the line break, without it.
    fn rest_of_line(&mut self) {
        self.take_line();
    }

    fn take_line(&mut self) -> &'t str {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let taken = self.skip(end);
        taken.strip_suffix('\r').unwrap_or(taken)
    }

    fn bad(&self, message: &'static str, expected: &'static str) -> BadLine {
        let consumed = self.line_start.len() - self.rest.len();
        let column = self.line_start[..consumed].chars().count() + 1;
        let column = u32::try_from(column).unwrap_or(u32::MAX);
        BadLine { line: self.line, column, message, expected }
    }
}

fn pair(cursor: &mut Cursor<'_>, raw: bool) -> Result<Option<Pair>, BadLine> {
    if let Some(rest) = cursor.rest.strip_prefix("export")
        && rest.starts_with([' ', '\t'])
    {
        cursor.rest = rest;
        cursor.blank();
    }
    let line = cursor.line;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let end = cursor.rest.find(|c| !is_name(c)).unwrap_or(cursor.rest.len());
    if end == 0 {
        let expected = "a name of letters, digits, '_', '.' and '-'";
        return Err(cursor.bad("no variable's name starts here", expected));
    }
    let key = cursor.skip(end).to_owned();
    cursor.blank();
    match cursor.peek() {
        None | Some('\n' | '#') => {
            cursor.rest_of_line();
            return Ok(Some(Pair { key, value: None, expands: false, line }));
        }
        Some('=' | ':') => {
            cursor.skip(1);
        }
        Some(_) => {
            return Err(cursor.bad("a variable's name is not followed by '='", "KEY=value"));
        }
    }
    if raw {
        let value = Some(cursor.take_line().to_owned());
        return Ok(Some(Pair { key, value, expands: false, line }));
    }
    cursor.blank();
    let (value, expands) = match cursor.peek() {
        Some(quote @ ('\'' | '"')) => (quoted(cursor, quote)?, quote == '"'),
        _ => (unquoted(cursor.take_line()).to_owned(), true),
    };
    Ok(Some(Pair { key, value: Some(value), expands, line }))
}

/// A ` #` starts a comment; blanks around the value do not belong to it.
fn unquoted(text: &str) -> &str {
    let end = text.char_indices().find_map(|(i, c)| {
        let before = text[..i].chars().next_back();
        (c == '#' && before.is_none_or(|b| b == ' ' || b == '\t')).then_some(i)
    });
    text[..end.unwrap_or(text.len())].trim()
}

fn quoted(cursor: &mut Cursor<'_>, quote: char) -> Result<String, BadLine> {
    let open = cursor.bad("this quote is not closed", "the same quote at the end of the value");
    cursor.skip(1);
    let mut value = String::new();
    loop {
        let Some(c) = cursor.rest.chars().next() else { return Err(open) };
        if c == '\n' {
            value.push('\n');
            cursor.newline();
            continue;
        }
        cursor.skip(c.len_utf8());
        if c == quote {
            break;
        }
        if c != '\\' || quote == '\'' {
            value.push(c);
            continue;
        }
        let Some(escaped) = cursor.rest.chars().next() else { return Err(open) };
        if escaped != '\n' {
            cursor.skip(escaped.len_utf8());
        }
        match escaped {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            '"' | '\'' | '\\' => value.push(escaped),
            // Kept for the expansion that follows.
            '$' => value.push_str("$$"),
            '\n' => {
                value.push('\\');
            }
            other => {
                value.push('\\');
                value.push(other);
            }
        }
    }
    cursor.blank();
    match cursor.peek() {
        None | Some('\n') => Ok(value),
        Some('#') => {
            cursor.rest_of_line();
            Ok(value)
        }
        Some(_) => Err(cursor.bad("text follows the closing quote", "the end of the line")),
    }
}

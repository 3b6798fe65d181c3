//! `${VAR:-default}` and its kin, as compose has them. Pure: the variables are given, the output is
//! bounded, and no text makes it panic.

use model::limits;
use std::collections::BTreeSet;

/// Why a text was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Byte offset of the `$` in question.
    pub(crate) at: usize,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

/// Expands texts against one set of variables.
pub(crate) struct Expander<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Bytes that may still be written.
    budget: usize,
    exhausted: bool,
    /// Variables that were used without a value and without a default.
    pub(crate) unset: BTreeSet<String>,
}

const DOUBLE: &str = "write $$ for a dollar sign that is meant as one";

impl<'a> Expander<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<String>, budget: usize) -> Self {
        Self { lookup, budget, exhausted: false, unset: BTreeSet::new() }
    }

    /// The text with its variables replaced.
    ///
    /// # Errors
    /// `Malformed` for a bad form, a required variable without a value, or too long an output.
    pub(crate) fn expand(&mut self, text: &str) -> Result<String, Malformed> {
        let mut scan = Scan { text, at: 0, out: String::new() };
        self.run(&mut scan, 0, true, None)?;
        Ok(scan.out)
    }

    /// Reads until the end, or until the `}` of the braces opened at `opened`.
    fn run(
        &mut self,
        scan: &mut Scan<'_>,
        depth: usize,
        live: bool,
        opened: Option<usize>,
    ) -> Result<(), Malformed> {
        let mut braces = 0_usize;
        loop {
            let rest = &scan.text[scan.at..];
            let stop = if opened.is_some() { rest.find(['$', '{', '}']) } else { rest.find('$') };
            let literal = stop.unwrap_or(rest.len());
            self.push(scan, &rest[..literal], live)?;
            scan.at += literal;
            let Some(c) = rest[literal..].chars().next() else {
                return match opened {
                    Some(at) => Err(bad(at, "\"${\" has no closing \"}\"", Some(DOUBLE))),
                    None => Ok(()),
                };
            };
            match c {
                '$' => self.dollar(scan, depth, live)?,
                '{' => {
                    braces += 1;
                    self.push(scan, "{", live)?;
                    scan.at += 1;
                }
                _ if braces > 0 => {
                    braces -= 1;
                    self.push(scan, "}", live)?;
                    scan.at += 1;
                }
                _ => return Ok(()),
            }
        }
    }

    fn push(&mut self, scan: &mut Scan<'_>, text: &str, live: bool) -> Result<(), Malformed> {
        if !live {
            return Ok(());
        }
        let Some(left) = self.budget.checked_sub(text.len()) else {
            let max = limits::COMPOSE_EXPANDED_BYTES_MAX;
            self.budget = 0;
            self.exhausted = true;
            let message = format!("with its variables the stack has over {max} bytes");
            return Err(Malformed { at: scan.at, message, hint: None });
        };
        self.budget = left;
        scan.out.push_str(text);
        Ok(())
    }

    fn dollar(&mut self, scan: &mut Scan<'_>, depth: usize, live: bool) -> Result<(), Malformed> {
        let at = scan.at;
        let rest = &scan.text[at + 1..];
        if rest.starts_with('$') {
            scan.at += 2;
            return self.push(scan, "$", live);
        }
        if rest.starts_with('{') {
            scan.at += 2;
            return self.braced(scan, at, depth, live);
        }
        let name = name_of(rest);
        if name.is_empty() {
            let what = rest.chars().next().map_or("the end".to_owned(), |c| format!("{c:?}"));
            return Err(bad(at, &format!("'$' is followed by {what}"), Some(DOUBLE)));
        }
        scan.at += 1 + name.len();
        if !live {
            return Ok(());
        }
        let value = self.value(name);
        self.push(scan, &value, true)
    }

    fn braced(
        &mut self,
        scan: &mut Scan<'_>,
        at: usize,
        depth: usize,
        live: bool,
    ) -> Result<(), Malformed> {
        if depth >= limits::INTERPOLATION_DEPTH_MAX {
            return Err(bad(at, "defaults are nested too deep", None));
        }
        let rest = &scan.text[scan.at..];
        let name = name_of(rest);
        if name.is_empty() {
            let why = "\"${\" is not followed by a variable's name";
            return Err(bad(at, why, Some(DOUBLE)));
        }
        scan.at += name.len();
        let rest = &rest[name.len()..];
        let (operator, length) = match rest.as_bytes() {
            [b'}', ..] => {
                scan.at += 1;
                if !live {
                    return Ok(());
                }
                let value = self.value(name);
                return self.push(scan, &value, true);
            }
            [b':', o @ (b'-' | b'?' | b'+'), ..] => ((true, *o), 2),
            [o @ (b'-' | b'?' | b'+'), ..] => ((false, *o), 1),
            [] => return Err(bad(at, "\"${\" has no closing \"}\"", Some(DOUBLE))),
            _ => {
                let why = format!("after ${{{} comes neither '}}' nor an operator", cut(name));
                let hint = "the operators are :- - :? ? :+ and +";
                return Err(bad(at, &why, Some(hint)));
            }
        };
        scan.at += length;
        let value = if live { (self.lookup)(name) } else { None };
        let (or_empty, operator) = operator;
        let present = value.as_deref().is_some_and(|v| !(or_empty && v.is_empty()));
        // The word is read in any case, and expanded only where it is used.
        let use_word = live && if operator == b'+' { present } else { !present };
        let before = scan.out.len();
        self.run(scan, depth + 1, use_word, Some(at))?;
        scan.at += 1;
        if operator == b'?' && use_word {
            let word = scan.out.split_off(before);
            let mut message = format!("the variable {} is required and not set", cut(name));
            if !word.is_empty() {
                message.push_str(": ");
                message.push_str(&word);
            }
            let hint = "set it in the environment or in the .env file";
            return Err(Malformed { at, message, hint: Some(hint) });
        }
        if live && present && operator != b'+' {
            self.push(scan, &value.unwrap_or_default(), true)?;
        }
        Ok(())
    }

    fn value(&mut self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            if self.unset.len() < 1_000 {
                self.unset.insert(name.to_owned());
            }
            String::new()
        })
    }

    /// Was there more to write than the budget allows? One error about it is enough.
    pub(crate) fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Bytes that may still be written, for the next text.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    out: String,
}

fn name_of(text: &str) -> &str {
    let end = text.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_'));
    let name = &text[..end.unwrap_or(text.len())];
    if name.starts_with(|c: char| c.is_ascii_digit()) { "" } else { name }
}

fn cut(name: &str) -> String {
    name.chars().take(60).collect()
}

fn bad(at: usize, message: &str, hint: Option<&'static str>) -> Malformed {
    Malformed { at, message: message.to_owned(), hint }
}

//! What differs between two texts, as `diff -u` shows it. Pure.

use crate::output::{Colour, paint};

/// Lines around a change.
const CONTEXT: usize = 3;
/// Beyond so many pairs of lines no smallest difference is looked for.
const PAIRS_MAX: usize = 4_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Both,
    Old,
    New,
}

/// The difference of two texts with their names; empty when they are equal. What is no text is
/// only said to differ.
#[must_use]
pub(crate) fn diff(old: (&str, &[u8]), new: (&str, &[u8])) -> Vec<String> {
    if old.1 == new.1 {
        return vec![];
    }
    let (Some(before), Some(after)) = (text(old.1), text(new.1)) else {
        let sizes = (old.1.len(), new.1.len());
        return vec![format!(
            "Binary values {} and {} differ: {} and {} bytes",
            old.0, new.0, sizes.0, sizes.1
        )];
    };
    let rows = rows(&lines(before), &lines(after));
    let mut out = vec![
        paint(Colour::Bold, &format!("--- {}", old.0)),
        paint(Colour::Bold, &format!("+++ {}", new.0)),
    ];
    hunks(&rows, &mut out);
    out
}

fn text(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    (!text.contains(is_odd)).then_some(text)
}

/// Lines; the last one says when it has no end.
fn lines(text: &str) -> Vec<(&str, bool)> {
    text.split_inclusive('\n')
        .map(|line| (line.trim_end_matches('\n'), line.ends_with('\n')))
        .collect()
}

type Line<'t> = (&'t str, bool);

/// Every line once, with the side that it is on.
fn rows<'t>(old: &[Line<'t>], new: &[Line<'t>]) -> Vec<(Side, Line<'t>)> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old_rest[..old_rest.len() - end], &new_rest[..new_rest.len() - end]);
    let mut rows: Vec<_> = old[..start].iter().map(|line| (Side::Both, *line)).collect();
    let width = b.len() + 1;
    if (a.len() + 1).saturating_mul(width) > PAIRS_MAX {
        rows.extend(a.iter().map(|line| (Side::Old, *line)));
        rows.extend(b.iter().map(|line| (Side::New, *line)));
    } else {
        // Lines that both have from here on.
        let mut same = vec![0_u32; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                let (below, beside) = (same[(i + 1) * width + j], same[i * width + j + 1]);
                let next = same[(i + 1) * width + j + 1];
                same[i * width + j] = if a[i] == b[j] { next + 1 } else { below.max(beside) };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            if i < a.len() && j < b.len() && a[i] == b[j] {
                rows.push((Side::Both, a[i]));
                (i, j) = (i + 1, j + 1);
            } else if j == b.len()
                || (i < a.len() && same[(i + 1) * width + j] >= same[i * width + j + 1])
            {
                rows.push((Side::Old, a[i]));
                i += 1;
            } else {
                rows.push((Side::New, b[j]));
                j += 1;
            }
        }
    }
    rows.extend(old[old.len() - end..].iter().map(|line| (Side::Both, *line)));
    rows
}

fn hunks(rows: &[(Side, Line<'_>)], out: &mut Vec<String>) {
    let changes: Vec<usize> =
        rows.iter().enumerate().filter(|(_, row)| row.0 != Side::Both).map(|(n, _)| n).collect();
    let mut at = 0;
    while let Some(first) = changes.get(at) {
        let mut last = *first;
        while let Some(next) = changes.get(at).filter(|next| **next <= last + 2 * CONTEXT) {
            last = *next;
            at += 1;
        }
        let (start, end) = (first.saturating_sub(CONTEXT), (last + CONTEXT + 1).min(rows.len()));
        let count = |rows: &[(Side, Line<'_>)], other: Side| {
            rows.iter().filter(|row| row.0 != other).count()
        };
        let range = |other: Side| {
            let (before, here) = (count(&rows[..start], other), count(&rows[start..end], other));
            let begin = if here == 0 { before } else { before + 1 };
            if here == 1 { begin.to_string() } else { format!("{begin},{here}") }
        };
        out.push(paint(Colour::Dim, &format!("@@ -{} +{} @@", range(Side::New), range(Side::Old))));
        for (side, (line, has_end)) in &rows[start..end] {
            out.push(match side {
                Side::Both => format!(" {line}"),
                Side::Old => paint(Colour::Red, &format!("-{line}")),
                Side::New => paint(Colour::Green, &format!("+{line}")),
            });
            if !has_end {
                out.push("\\ No newline at end of file".into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> String {
        diff(("a", old.as_bytes()), ("b", new.as_bytes())).join("\n")
    }

    #[test]
    fn it_looks_as_diff_u() {
        assert_eq!(shown("x\n", "x\n"), "");
        assert_eq!(
            shown("1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\nfive\n6\n7\n8\n"),
            "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8"
        );
        assert_eq!(
            shown("a", "a\nb\n"),
            "--- a\n+++ b\n@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b"
        );
        assert_eq!(shown("", "a\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+a");
        let far = "x\n".repeat(20);
        let two = shown(&format!("1\n{far}2\n"), &format!("one\n{far}two\n"));
        assert_eq!(two.matches("@@ -").count(), 2, "{two}");
        let binary = diff(("a", b"\0"), ("b", b"text"));
        assert_eq!(binary, ["Binary values a and b differ: 1 and 4 bytes"]);
    }

    /// Every two texts of up to four lines.
    #[test]
    fn either_side_is_whole() {
        let texts: Vec<String> = (0..=4_u32)
            .flat_map(|lines| (0..2_u32.pow(lines)).map(move |bits| (lines, bits)))
            .map(|(lines, bits)| {
                (0..lines).map(|n| if bits >> n & 1 == 1 { "a\n" } else { "b\n" }).collect()
            })
            .collect();
        assert_eq!(texts.len(), 31);
        for (before, after) in texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b))) {
            let rows = rows(&lines(before), &lines(after));
            let side = |other: Side| {
                let rows = rows.iter().filter(|row| row.0 != other);
                rows.map(|row| format!("{}\n", row.1.0)).collect::<String>()
            };
            assert_eq!((&side(Side::New), &side(Side::Old)), (before, after));
        }
    }
}

//! What a test runner says at its end: nextest's summary line and libtest's.

use std::fmt;
use std::ops::AddAssign;

/// How many tests did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Who runs the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// cargo-nextest: one summary, in whose output those of single tests may stand, indented.
    Nextest,
    /// `cargo test`: a summary for each test program.
    Libtest,
}

/// The counts of a runner's summary line, `None` for any other line.
pub(super) fn summary(runner: Runner, line: &str) -> Option<Counts> {
    let line = without_colours(line);
    let tail = match runner {
        Runner::Nextest => line.trim_start().strip_prefix("Summary [")?.split_once(" run: ")?.1,
        Runner::Libtest => line.strip_prefix("test result: ")?.split_once(". ")?.1,
    };
    let mut counts = Counts::default();
    // "7 passed (1 slow, 2 leaky), 1 timed out": what is in brackets is counted before it
    let mut depth = 0;
    let flat = tail.chars().filter(|c| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0 && *c != ')'
    });
    for part in flat.collect::<String>().split([',', ';']) {
        let Some((number, what)) = part.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match what.trim() {
            "passed" => counts.passed += number,
            "failed" | "timed out" | "exec failed" => counts.failed += number,
            "skipped" | "ignored" => counts.skipped += number,
            _ => {}
        }
    }
    Some(counts)
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runner: Runner, line: &str, expect: Option<(u64, u64, u64)>) {
        let expect = expect.map(|(passed, failed, skipped)| Counts { passed, failed, skipped });
        assert_eq!(summary(runner, line), expect, "{line}");
    }

    #[test]
    fn summaries_are_read() {
        let nextest = |line, expect| check(Runner::Nextest, line, expect);
        nextest("     Summary [   0.12s] 3 tests run: 3 passed, 0 skipped", Some((3, 0, 0)));
        nextest(
            "\u{1b}[31;1m     Summary\u{1b}[0m [  12.34s] \u{1b}[1m9\u{1b}[0m tests run: \
             \u{1b}[1m6\u{1b}[0m passed (1 slow, 2 leaky), 2 failed, 1 timed out, 4 skipped",
            Some((6, 3, 4)),
        );
        nextest("Summary [ 1s] 1/2 tests run: 0 passed, 1 exec failed, 0 skipped", Some((0, 1, 0)));
        check(
            Runner::Libtest,
            "test result: FAILED. 7 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; \
             finished in 0.81s",
            Some((7, 1, 2)),
        );
        check(Runner::Libtest, "test a_test ... ok", None);
        check(Runner::Libtest, "running 7 tests", None);
    }

    #[test]
    fn a_summary_inside_the_output_of_a_test_does_not_count() {
        let inner = "    test result: FAILED. 0 passed; 1 failed; 0 ignored; finished in 0.08s";
        check(Runner::Nextest, inner, None);
        check(Runner::Libtest, inner, None);
    }
}

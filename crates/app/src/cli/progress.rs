//! How the progress of services is shown: a live tree on a terminal, a line for each change
//! elsewhere.

use super::Global;
use super::watch::{Goal, in_service};
use crate::output;
use api::wire::{InstancePage, InstanceRow, ServiceRow};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// How a row is told in one line.
fn tell(row: &InstanceRow) -> String {
    let word = word(row);
    let reason = match output::harmless(&row.reason) {
        reason if reason.is_empty() => reason,
        reason => format!("  {reason}"),
    };
    format!("{}{reason}", output::paint(output::status_colour(word), word))
}

fn word(row: &InstanceRow) -> &str {
    match row.ready && row.health == model::health::Health::Healthy {
        true => "healthy",
        false => row.status.as_str(),
    }
}

/// Shows progress: redraws on a terminal, adds lines elsewhere.
pub(super) struct Screen {
    live: bool,
    quiet: bool,
    drawn: usize,
    told: BTreeMap<String, String>,
    /// Something was shown: what is ready from now on is news.
    begun: bool,
}

impl Screen {
    pub(super) fn new(global: &Global) -> Self {
        let live = output::is_live() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Self { live, quiet: global.quiet, drawn: 0, told: BTreeMap::new(), begun: false }
    }

    pub(super) fn show(&mut self, goal: &Goal, page: &InstancePage) {
        if self.quiet {
            return;
        }
        if self.live {
            self.redraw(&tree(goal, page, output::screen()));
            return;
        }
        let rows = page.instances.iter();
        for row in rows.filter(|row| goal.services.iter().any(|name| in_service(row, name))) {
            let key = format!("{}@{}", row.name, row.incarnation);
            let text = tell(row);
            if self.told.get(&key) != Some(&text) {
                // What was ready all the time is no change.
                if self.begun || !row.ready {
                    self.line(&format!("{} r{} {text}", row.name, row.revision));
                }
                self.told.insert(key, text);
            }
        }
        self.begun = true;
    }

    /// One line of progress with the time, off terminals.
    pub(super) fn line(&mut self, text: &str) {
        if self.quiet || self.live {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = model::time::Timestamp(i64::try_from(now.as_millis()).unwrap_or(0));
        output::note(&format!("{} {text}", output::utc(at)));
    }

    fn redraw(&mut self, lines: &[String]) {
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        for line in lines {
            out.push_str(line);
            // Each line is cleared behind its new text, so that nothing flickers.
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        self.drawn = lines.len();
        output::raw_note(&out);
    }

    pub(super) fn finish(&mut self) {
        self.drawn = 0;
    }
}

/// The last line: what is there now, and how long it took.
pub(super) fn summary(goal: &Goal, page: &InstancePage, took: Duration) -> String {
    let services: Vec<&ServiceRow> =
        page.services.iter().filter(|s| goal.services.contains(&s.name)).collect();
    let what = match goal.services.as_slice() {
        [one] => one.clone(),
        _ => goal.stack.clone(),
    };
    let seconds = took.as_secs_f32();
    if services.iter().all(|s| s.status == "stopped") {
        return format!("{what} is stopped ({seconds:.1} s)");
    }
    let waiting: Vec<String> =
        services.iter().filter_map(|service| super::watch::waits(service)).collect();
    if !waiting.is_empty() {
        return waiting.join("\n");
    }
    let wanted: u32 = services.iter().filter(|s| s.status != "stopped").map(|s| s.scale).sum();
    let ready: u32 = services.iter().map(|s| s.ready.min(s.scale)).sum();
    let mark = output::paint(output::Colour::Green, "healthy");
    format!("{what} is {mark}: {ready} of {wanted} instances ready ({seconds:.1} s)")
}

/// A line for each service, and below it one for each instance that is not ready; with too few
/// rows on the screen the services alone, since lines that scroll away cannot be redrawn.
fn tree(goal: &Goal, page: &InstancePage, (columns, rows): (usize, usize)) -> Vec<String> {
    let services: Vec<&ServiceRow> =
        page.services.iter().filter(|s| goal.services.contains(&s.name)).collect();
    let width = services.iter().map(|s| s.name.len()).max().unwrap_or(0).min(columns / 2);
    let mut lines = vec![];
    for service in &services {
        lines.push(service_line(service, width, columns));
        let below = page.instances.iter().filter(|row| in_service(row, &service.name));
        lines.extend(below.filter(|row| !row.ready).map(|row| instance_line(row, columns)));
    }
    if lines.len() >= rows {
        lines = services.iter().map(|s| service_line(s, width, columns)).collect();
    }
    if lines.len() >= rows {
        let left = lines.len() - (rows - 2);
        lines.truncate(rows - 2);
        lines.push(format!("… and {left} more"));
    }
    lines
}

fn instance_line(row: &InstanceRow, columns: usize) -> String {
    let word = word(row);
    let start = format!("  #{:<3} r{:<3} ", row.n, row.revision);
    let room = columns.saturating_sub(start.len() + word.len().max(9) + 3);
    let painted = output::paint(output::status_colour(word), &format!("{word:<9}"));
    format!("{start}{painted}  {}", output::fit(&row.reason, room)).trim_end().to_owned()
}

fn service_line(service: &ServiceRow, width: usize, columns: usize) -> String {
    let name = output::fit(&service.name, width);
    let word = service.status.as_str();
    let count = format!("{}/{}", service.ready, service.scale);
    let reason = service.reasons.first().map_or("", String::as_str);
    let room = columns.saturating_sub(width + word.len().max(8) + count.len().max(5) + 7);
    let painted = output::paint(output::status_colour(word), &format!("{word:<8}"));
    let line = format!("{name:<width$}  {painted}  {count:<5}  {}", output::fit(reason, room));
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(services: u32, instances: u32) -> (Goal, InstancePage) {
        let mut page = InstancePage::default();
        let mut names = vec![];
        for s in 0..services {
            let name = format!("shop/s{s}");
            names.push(name.clone());
            page.services.push(ServiceRow {
                name,
                status: "updating".into(),
                scale: instances,
                ..ServiceRow::default()
            });
            page.instances.extend((1..=instances).map(|n| InstanceRow {
                stack: "shop".into(),
                service: format!("s{s}"),
                n,
                status: "starting".into(),
                reason: "its image is fetched: \u{1b}[2J ".repeat(9),
                ..InstanceRow::default()
            }));
        }
        let goal =
            Goal { stack: "shop".into(), services: names, timeout: Duration::ZERO, known: None };
        (goal, page)
    }

    #[test]
    fn the_tree_fits_the_screen_whatever_its_size() {
        for (services, instances) in [(1, 1), (3, 2), (3, 20), (60, 3), (1, 0)] {
            let (goal, page) = page(services, instances);
            for (columns, rows) in [(40, 5), (80, 24), (200, 60)] {
                let lines = tree(&goal, &page, (columns, rows));
                assert!(lines.len() < rows, "{services} {instances}: {} lines", lines.len());
                for line in lines {
                    assert!(line.chars().count() <= columns, "{columns}: {line:?}");
                    assert!(!line.contains('\u{1b}'), "{line:?}");
                }
            }
        }
        let (goal, page) = page(2, 2);
        assert_eq!(tree(&goal, &page, (80, 24)).len(), 6);
    }
}

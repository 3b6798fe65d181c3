//! A file of hosts: `[user@]address[:port] [labels] [host id]`, one a line. All that is wrong with
//! it is told at once, each with its line, and nothing is done.

use super::target::Target;
use model::id::HostId;
use model::limits::{HOST_LABELS_MAX, HOSTS_ADDED_MAX};
use std::collections::BTreeMap;

/// A machine that is to be a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) target: Target,
    /// Labels that it gets.
    pub(super) labels: BTreeMap<String, String>,
    /// Its id; without one its host name.
    pub(super) host: Option<HostId>,
}

/// Reads the whole file.
///
/// # Errors
/// Every mistake as `file:line: what`.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Entry>, Vec<String>> {
    let mut entries: Vec<(usize, Entry)> = vec![];
    let mut wrong = vec![];
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = content(line);
        if line.is_empty() {
            continue;
        }
        if entries.len() + wrong.len() >= HOSTS_ADDED_MAX {
            wrong.push(format!(
                "{file}:{number}: more than {HOSTS_ADDED_MAX} hosts: split the file"
            ));
            break;
        }
        let read = entry(line).and_then(|entry| match clash(&entries, &entry) {
            Some(why) => Err(why),
            None => Ok(entry),
        });
        match read {
            Ok(entry) => entries.push((number, entry)),
            Err(why) => wrong.push(format!("{file}:{number}: {why}")),
        }
    }
    if entries.is_empty() && wrong.is_empty() {
        wrong.push(format!("{file}: no host is in it: write user@address, one a line"));
    }
    if wrong.is_empty() {
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    } else {
        Err(wrong)
    }
}

/// The line without its comment, which begins it or stands behind a space.
fn content(line: &str) -> &str {
    let comment = line
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| line[..*at].chars().next_back().is_none_or(char::is_whitespace));
    line[..comment.unwrap_or(line.len())].trim()
}

/// What is said of the same machine or the same id in an earlier line.
fn clash(entries: &[(usize, Entry)], new: &Entry) -> Option<String> {
    for (line, old) in entries {
        if old.target.is_same_machine(&new.target) {
            return Some(format!("{} is in line {line} already", new.target.address));
        }
        if let Some(host) = new.host.as_ref().filter(|host| old.host.as_ref() == Some(host)) {
            return Some(format!("the host id {host} is given in line {line} already"));
        }
    }
    None
}

fn entry(line: &str) -> Result<Entry, String> {
    let mut words = line.split_whitespace();
    let target = Target::parse(words.next().unwrap_or_default())?;
    let mut entry = Entry { target, labels: BTreeMap::new(), host: None };
    for word in words {
        if word.contains('=') {
            for pair in word.split(',') {
                let (key, value) = label(pair)?;
                if entry.labels.insert(key.clone(), value).is_some() {
                    return Err(format!("the label {key} is given twice"));
                }
            }
        } else if let Some(host) = &entry.host {
            return Err(format!(
                "{word:?} is one word too many: a line is user@address, labels (key=value,…) and a \
                 host id, which is {host}"
            ));
        } else {
            entry.host = Some(HostId::parse(word).map_err(|error| error.to_string())?);
        }
    }
    if entry.labels.len() > HOST_LABELS_MAX {
        return Err(format!("more than {HOST_LABELS_MAX} labels"));
    }
    Ok(entry)
}

/// `key=value`.
///
/// # Errors
/// What it lacks.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !text.contains(char::is_control) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(format!("{text:?} is not a label: key=value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> String {
        read("hosts.txt", text).unwrap_err().join("\n")
    }

    #[test]
    fn a_line_is_an_address_then_labels_and_an_id_in_any_order() {
        let text = "\u{feff}# the east\r\n\r\nroot@10.0.0.1 zone=a,disk=ssd n1 # first\n\
                    \t10.0.0.2:2222\n ops@c n-3 zone=b rack=#7\n";
        let entries = read("hosts.txt", text).unwrap();
        let shown: Vec<String> = entries
            .iter()
            .map(|e| {
                let host = e.host.as_ref().map_or("-", HostId::as_str);
                format!("{} {:?} {host}", e.target, e.labels)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "root@10.0.0.1 {\"disk\": \"ssd\", \"zone\": \"a\"} n1",
                "10.0.0.2:2222 {} -",
                "ops@c {\"rack\": \"#7\", \"zone\": \"b\"} n-3",
            ]
        );
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "root@a\n-oProxyCommand=x@b\nroot@c zone\nroot@c2 =x\nroot@d n1 n2\n\
                    root@e zone=a zone=b\nroot@A\nroot@f zone\nroot@g -x\n";
        let errors = errors(text);
        for part in [
            "hosts.txt:2: \"-oProxyCommand=x\" is not the name of a user",
            "hosts.txt:4: \"=x\" is not a label",
            "hosts.txt:5: \"n2\" is one word too many",
            "hosts.txt:6: the label zone is given twice",
            "hosts.txt:7: A is in line 1 already",
            "hosts.txt:8: the host id zone is given in line 3 already",
            "hosts.txt:9: ",
        ] {
            assert!(errors.contains(part), "{part} is not in\n{errors}");
        }
        assert_eq!(errors.lines().count(), 7, "{errors}");
    }

    #[test]
    fn a_file_has_at_least_one_host_and_not_too_many() {
        assert!(errors("# nobody\n\n").contains("hosts.txt: no host is in it"));
        let many: String = (0..=HOSTS_ADDED_MAX).map(|n| format!("h{n}\n")).collect();
        assert!(errors(&many).contains("hosts.txt:1001: more than 1000 hosts"));
    }
}

//! What changes of settings, shown before it is written; written only when nobody else was faster.

use crate::cli::kv::ask;
use crate::cli::unified;
use crate::exit::{Failure, Outcome};
use api::client::Client;
use api::error::{ErrorInfo, Kind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use model::limits::{CONSUL_BODY_BYTES_MAX, CONSUL_TXN_OPS_MAX};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What an operation takes in a request beside key and value, at most, in bytes.
const FRAME_BYTES: usize = 256;

/// One setting that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: String,
    /// Value and index of its last change; none when it is new.
    pub(super) old: Option<(Vec<u8>, u64)>,
    /// None takes it away.
    pub(super) new: Option<Vec<u8>>,
}

/// What of the wanted differs from the known, in the order of names.
pub(super) fn changes(
    known: &BTreeMap<String, (Vec<u8>, u64)>,
    wanted: BTreeMap<String, Option<Vec<u8>>>,
) -> Vec<Change> {
    let change = |(name, new): (String, Option<Vec<u8>>)| {
        let old = known.get(&name).cloned();
        let same = old.as_ref().map(|(value, _)| value) == new.as_ref();
        (!same).then_some(Change { name, old, new })
    };
    wanted.into_iter().filter_map(change).collect()
}

impl Change {
    /// As `diff -u` shows it.
    pub(super) fn shown(&self) -> Vec<String> {
        let (old, new) = (self.old.as_ref().map(|(value, _)| value), self.new.as_ref());
        let name = |is_there: bool| if is_there { self.name.as_str() } else { "/dev/null" };
        let lines = unified::diff(
            (name(old.is_some()), old.map_or(&[], Vec::as_slice)),
            (name(new.is_some()), new.map_or(&[], Vec::as_slice)),
        );
        match (lines.is_empty(), new) {
            (false, _) => lines,
            (true, Some(_)) => vec![format!("{}: new, without a value", self.name)],
            (true, None) => vec![format!("{}: taken away, it had no value", self.name)],
        }
    }

    fn operation(&self, prefix: &str) -> Value {
        let key = format!("{prefix}{}", self.name);
        let index = self.old.as_ref().map_or(0, |(_, index)| *index);
        match &self.new {
            Some(value) => {
                let value = STANDARD.encode(value);
                json!({"KV": {"Verb": "cas", "Key": key, "Value": value, "Index": index}})
            }
            None => json!({"KV": {"Verb": "delete-cas", "Key": key, "Index": index}}),
        }
    }

    fn bytes(&self, prefix: &str) -> usize {
        let value = self.new.as_ref().map_or(0, |value| value.len().div_ceil(3) * 4);
        FRAME_BYTES + 6 * (prefix.len() + self.name.len()) + value
    }
}

/// Writes all of it, as much at once as a transaction holds.
///
/// # Errors
/// 5 when a setting was changed meanwhile: says which, and what is written by then.
pub(super) async fn write(client: &Client, prefix: &str, changes: &[&Change]) -> Outcome {
    let mut done = 0;
    while done < changes.len() {
        let (mut count, mut bytes) = (0, 0);
        for change in &changes[done..] {
            bytes += change.bytes(prefix);
            if count >= CONSUL_TXN_OPS_MAX || (count > 0 && bytes > CONSUL_BODY_BYTES_MAX) {
                break;
            }
            count += 1;
        }
        let some = &changes[done..done + count];
        let body: Vec<Value> = some.iter().map(|change| change.operation(prefix)).collect();
        let body = Value::Array(body).to_string().into_bytes();
        let answer = ask::ask(client, Method::PUT, "/v1/txn", Some(body)).await;
        if let Err(failed) = answer {
            return Err(told(failed.unwrap_missing("like that"), done));
        }
        done += count;
    }
    Ok(())
}

fn told(failure: Failure, done: usize) -> Failure {
    let written = match done {
        0 => "nothing was written".to_owned(),
        done => format!("{done} settings before it were written"),
    };
    if failure.code() != crate::exit::CONFLICT {
        return failure.hint(written);
    }
    let text = format!("a setting was changed by somebody else meanwhile; {written}");
    ErrorInfo::new(Kind::Conflict, text).hint("do it again: what changes is shown anew").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_changes_and_it_is_shown() {
        let known = [("a", "1"), ("b", "2"), ("c", "")]
            .map(|(name, value)| (name.to_owned(), (value.as_bytes().to_vec(), 7)));
        let wanted = [("a", Some("1")), ("b", Some("3\n")), ("c", None), ("d", Some(""))];
        let wanted = wanted.map(|(name, value)| {
            (name.to_owned(), value.map(|value: &str| value.as_bytes().to_vec()))
        });
        let all = changes(&known.into(), wanted.into());
        let shown: Vec<String> = all.iter().flat_map(Change::shown).collect();
        assert_eq!(
            shown.join("\n"),
            "--- b\n+++ b\n@@ -1 +1 @@\n-2\n\\ No newline at end of file\n+3\n\
             c: taken away, it had no value\nd: new, without a value"
        );
        let verbs: Vec<Value> =
            all.iter().map(|change| change.operation("p/")["KV"].take()).collect();
        assert_eq!(verbs[0], json!({"Verb": "cas", "Key": "p/b", "Value": "Mwo=", "Index": 7}));
        assert_eq!(verbs[1], json!({"Verb": "delete-cas", "Key": "p/c", "Index": 7}));
        assert_eq!(verbs[2], json!({"Verb": "cas", "Key": "p/d", "Value": "", "Index": 0}));
    }
}

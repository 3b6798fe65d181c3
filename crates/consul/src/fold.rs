//! JSON objects as Go reads them: the case of a key does not matter.

use serde_json::Value;

/// The field of an object; the exact name is preferred.
#[must_use]
pub fn get<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    object
        .get(key)
        .or_else(|| object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, v)| v))
}

/// A text; empty when there is none.
#[must_use]
pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    get(value, key).and_then(Value::as_str).unwrap_or("")
}

/// A number from 0 up; 0 when there is none.
///
/// # Errors
/// When there is something else.
pub fn number(value: &Value, key: &str) -> Result<u64, String> {
    match get(value, key) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_u64().ok_or_else(|| format!("{key} must be a number from 0 up")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_case_of_a_key_does_not_matter() {
        let value = json!({"verb": "set", "KEY": "a", "key": "b", "Flags": 7, "Index": "x"});
        assert_eq!(text(&value, "Verb"), "set");
        assert_eq!(text(&value, "key"), "b");
        assert_eq!(text(&value, "Nothing"), "");
        assert_eq!(number(&value, "flags"), Ok(7));
        assert_eq!(number(&value, "none"), Ok(0));
        assert!(number(&value, "Index").is_err());
        assert_eq!(get(&json!([1]), "a"), None);
    }
}

//! Bodies of clients: JSON objects whose keys come in any case and with or without `_`, and whose
//! durations are `"10s"` or nanoseconds.

use crate::answer::Answer;
use crate::duration;
use model::limits::{CHECK_HEADERS_BYTES_MAX, REGISTER_BODY_BYTES_MAX};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An object of a body.
#[derive(Clone, Debug)]
pub(crate) struct Fields(Map<String, Value>);

/// Why a body is not understood.
pub(crate) fn broken(what: impl std::fmt::Display) -> Answer {
    Answer::bad(format!("Request decode failed: {what}"))
}

fn is(key: &str, name: &str) -> bool {
    let letters = |text: &str| {
        let letters = text.chars().filter(|c| *c != '_');
        letters.flat_map(char::to_lowercase).collect::<String>()
    };
    key == name || letters(key) == letters(name)
}

impl Fields {
    /// A whole body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Answer> {
        if body.len() > REGISTER_BODY_BYTES_MAX {
            return Err(Answer::too_large(body.len(), REGISTER_BODY_BYTES_MAX));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(broken("the body is no JSON object")),
            Err(error) => Err(broken(error)),
        }
    }

    /// The last one of a name; `null` is as if it were not there.
    fn get(&self, name: &str) -> Option<&Value> {
        let exact = self.0.get(name);
        let found = exact.or_else(|| {
            let mut all = self.0.iter().rev();
            all.find(|(key, _)| is(key, name)).map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    /// Is it there, and more than nothing?
    pub(crate) fn has(&self, name: &str) -> bool {
        match self.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(fields)) => !fields.is_empty(),
            Some(_) => true,
        }
    }

    /// A text; empty when it is not there.
    pub(crate) fn text(&self, name: &str) -> Result<String, Answer> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(broken(format!("{name} must be a string"))),
        }
    }

    /// The first of these that is there and not empty.
    pub(crate) fn text_of(&self, names: &[&str]) -> Result<String, Answer> {
        for name in names {
            let text = self.text(name)?;
            if !text.is_empty() {
                return Ok(text);
            }
        }
        Ok(String::new())
    }

    /// A number from 0 to `u16::MAX`; `None` when it is not there.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u16>, Answer> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
        number.map(Some).ok_or_else(|| broken(format!("{name} must be a number from 0 to 65535")))
    }

    /// Yes or no; no when it is not there.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Answer> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(broken(format!("{name} must be true or false"))),
        }
    }

    /// A time in milliseconds; 0 when it is not there.
    pub(crate) fn milliseconds(&self, name: &str) -> Result<u64, Answer> {
        let wrong = || broken(format!("{name} must be a duration like \"10s\", or nanoseconds"));
        match self.get(name) {
            None => Ok(0),
            Some(Value::String(text)) if text.is_empty() => Ok(0),
            Some(Value::String(text)) => {
                let found = duration::parse(text).ok_or_else(wrong)?;
                let ms = u64::try_from(found.as_millis()).map_err(|_too_long| wrong())?;
                Ok(ms.max(u64::from(!found.is_zero())))
            }
            Some(value) => {
                let ns = value.as_u64().ok_or_else(wrong)?;
                Ok(ns.div_ceil(1_000_000))
            }
        }
    }

    /// Texts; none when it is not there.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Answer> {
        let wrong = || broken(format!("{name} must be a list of strings"));
        let list = match self.get(name) {
            None => return Ok(vec![]),
            Some(value) => value.as_array().ok_or_else(wrong)?,
        };
        list.iter().map(|one| one.as_str().map(ToOwned::to_owned).ok_or_else(wrong)).collect()
    }

    /// Texts by name; none when it is not there. Their keys stay as they are.
    pub(crate) fn words(&self, name: &str) -> Result<BTreeMap<String, String>, Answer> {
        let wrong = || broken(format!("{name} must be an object of strings"));
        let words = match self.get(name) {
            None => return Ok(BTreeMap::new()),
            Some(value) => value.as_object().ok_or_else(wrong)?,
        };
        let pair = |(key, value): (&String, &Value)| {
            let value = value.as_str().ok_or_else(wrong)?;
            Ok((key.clone(), value.to_owned()))
        };
        words.iter().map(pair).collect()
    }

    /// Lists of texts by name.
    pub(crate) fn lists(&self, name: &str) -> Result<BTreeMap<String, Vec<String>>, Answer> {
        let all = Self(self.objects_of(name)?);
        if all.0.len() > CHECK_HEADERS_BYTES_MAX {
            return Err(broken(format!("{name} has {} names, too many", all.0.len())));
        }
        all.0.keys().map(|key| Ok((key.clone(), all.texts(key)?))).collect()
    }

    fn objects_of(&self, name: &str) -> Result<Map<String, Value>, Answer> {
        match self.get(name) {
            None => Ok(Map::new()),
            Some(Value::Object(fields)) => Ok(fields.clone()),
            Some(_) => Err(broken(format!("{name} must be an object"))),
        }
    }

    /// An object; `None` when it is not there.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>, Answer> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.clone()))),
            Some(_) => Err(broken(format!("{name} must be an object"))),
        }
    }

    /// Objects by name.
    pub(crate) fn objects(&self, name: &str) -> Result<BTreeMap<String, Self>, Answer> {
        let all = Self(self.objects_of(name)?);
        let one = |key: &String| Ok((key.clone(), all.object(key)?.unwrap_or(Self(Map::new()))));
        all.0.keys().map(one).collect()
    }

    /// A list of objects; none when it is not there.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<Self>, Answer> {
        let wrong = || broken(format!("{name} must be a list of objects"));
        let list = match self.get(name) {
            None => return Ok(vec![]),
            Some(value) => value.as_array().ok_or_else(wrong)?,
        };
        let one = |value: &Value| value.as_object().cloned().map(Self).ok_or_else(wrong);
        list.iter().filter(|value| !value.is_null()).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_come_in_any_case_and_null_is_nothing() {
        for key in ["DeregisterAfter", "deregister_after", "deregisterafter", "DEREGISTERAFTER"] {
            let fields = of(&format!(r#"{{"{key}":"x"}}"#));
            assert_eq!(fields.text("DeregisterAfter").unwrap(), "x", "{key}");
        }
        let fields = of(r#"{"a":null,"b":{"B_c":"d"},"e":[],"f":""}"#);
        assert_eq!(fields.text("a").unwrap(), "");
        assert!(!fields.has("a") && !fields.has("e") && !fields.has("f") && fields.has("b"));
        assert_eq!(fields.words("b").unwrap()["B_c"], "d", "keys of clients stay");
    }

    #[test]
    fn durations_are_texts_or_nanoseconds() {
        for (value, ms) in [
            (r#""10s""#, Some(10_000)),
            (r#""1m30s""#, Some(90_000)),
            ("10000000000", Some(10_000)),
            ("1", Some(1)),
            (r#""1ns""#, Some(1)),
            (r#""""#, Some(0)),
            ("null", Some(0)),
            ("0", Some(0)),
            ("-1", None),
            (r#""10""#, None),
            ("true", None),
        ] {
            let found = of(&format!(r#"{{"ttl":{value}}}"#)).milliseconds("TTL");
            assert_eq!(found.ok(), ms, "{value}");
        }
    }

    #[test]
    fn what_is_of_another_type_is_refused() {
        let fields = of(r#"{"n":"80","t":1,"l":["a",1],"w":{"a":1},"o":[]}"#);
        assert!(fields.number("n").is_err() && fields.text("t").is_err());
        assert!(fields.texts("l").is_err() && fields.words("w").is_err());
        assert!(fields.object("o").is_err() && fields.flag("t").is_err());
        for bad in ["", "[]", "1", "{", "{\"a\":}"] {
            assert_eq!(Fields::parse(bad.as_bytes()).unwrap_err().status.as_u16(), 400, "{bad}");
        }
        let large = vec![b' '; REGISTER_BODY_BYTES_MAX + 1];
        assert_eq!(Fields::parse(&large).unwrap_err().status.as_u16(), 413);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            Fields::parse(&body).ok();
        }
    }
}

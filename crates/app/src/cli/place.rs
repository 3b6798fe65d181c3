//! What a command is about: `stack`, `stack/service` or `stack/service#n`.

use crate::exit::{Failure, Outcome};
use api::client::Client;
use api::routes;

/// A stack, a service of it, or one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The stack.
    pub stack: String,
    /// The service; empty is the whole stack.
    pub service: String,
    /// The slot; 0 is all.
    pub n: u32,
}

impl std::str::FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (stack, rest) = text.split_once('/').unwrap_or((text, ""));
        let (service, n) = match rest.split_once('#') {
            Some((service, n)) => {
                let n = n.parse().map_err(|_nan| format!("{n:?} is not an instance number"))?;
                (service, n)
            }
            None => (rest, 0),
        };
        let valid = model::id::StackName::parse(stack).map_err(|e| e.to_string());
        valid.and_then(|_| {
            if text.contains('/') {
                model::id::ServiceName::parse(service).map_err(|e| e.to_string())?;
            }
            Ok(Self { stack: stack.to_owned(), service: service.to_owned(), n })
        })
    }
}

impl Place {
    /// It must name a service.
    ///
    /// # Errors
    /// Usage, with how it is written.
    pub(crate) fn service(&self) -> Outcome<&Self> {
        if self.service.is_empty() {
            return Err(Failure::usage(format!("{:?} names a stack, not a service", self.stack))
                .hint("write it as stack/service"));
        }
        Ok(self)
    }

    /// It must be there.
    ///
    /// # Errors
    /// Exit code 3 when there is no such stack or service.
    pub(crate) async fn must_exist(&self, client: &Client) -> Outcome {
        let path = if self.service.is_empty() {
            routes::fill(routes::STACK, &[&self.stack])
        } else {
            routes::fill(routes::SERVICE, &[&self.stack, &self.service])
        };
        let _there: serde_json::Value = client.get(&path).await?;
        Ok(())
    }

    /// The query part that selects it.
    #[must_use]
    pub(crate) fn query(&self) -> String {
        format!(
            "stack={}&service={}&n={}",
            routes::encode(&self.stack),
            routes::encode(&self.service),
            self.n
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = |s: &str, v: &str, n| Place { stack: s.into(), service: v.into(), n };
        assert_eq!("shop".parse(), Ok(place("shop", "", 0)));
        assert_eq!("shop/web".parse(), Ok(place("shop", "web", 0)));
        assert_eq!("shop/web#3".parse(), Ok(place("shop", "web", 3)));
        for bad in ["", "/", "shop/", "shop/web#x", "a b", "shop/w b"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}

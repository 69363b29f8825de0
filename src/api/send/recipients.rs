//! The recipients of a call: one text or a list of them.
use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use crate::domain::Personal;

/// Numbers as the caller wrote them, in order.
#[derive(Debug)]
pub struct Recipients(Vec<Personal<String>>);

impl Recipients {
    /// The texts.
    #[must_use]
    pub fn as_slice(&self) -> &[Personal<String>] {
        &self.0
    }
}

// By hand, so that a failure names the place in the list; an untagged enum could only say that nothing fits.
impl<'de> Deserialize<'de> for Recipients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany).map(Self)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<Personal<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number as a string, or a list of them")
    }

    fn visit_str<E>(self, number: &str) -> Result<Self::Value, E> {
        Ok(vec![Personal::new(number.to_owned())])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Self::Value, A::Error> {
        let mut recipients = Vec::new();
        while let Some(number) = numbers.next_element()? {
            recipients.push(number);
        }
        Ok(recipients)
    }
}

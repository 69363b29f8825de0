//! The recipients of a call: one or a list of them, each a number or a number with what its text differs in.
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::domain::Personal;
use crate::domain::template::Parameters;

/// Recipients as the caller wrote them, in order.
#[derive(Debug)]
pub struct Recipients(Vec<Wanted>);

/// Who is to be sent to.
#[derive(Debug)]
pub struct Wanted {
    /// The number, as it was written.
    pub number: Personal<String>,
    /// What the places of the text are filled with; `None` where only a number was written.
    pub parameters: Option<Parameters>,
    /// What the account calls this recipient's message.
    pub reference: Option<Personal<String>>,
}

impl Recipients {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Wanted] {
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
    type Value = Vec<Wanted>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number as a string, an object with a number, or a list of them")
    }

    fn visit_str<E: serde::de::Error>(self, number: &str) -> Result<Self::Value, E> {
        One.visit_str(number).map(|one| vec![one])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        One.visit_map(map).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut recipients = Vec::new();
        while let Some(one) = list.next_element()? {
            recipients.push(one);
        }
        Ok(recipients)
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(One)
    }
}

struct One;

impl<'de> Visitor<'de> for One {
    type Value = Wanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number as a string, or an object with a number")
    }

    fn visit_str<E>(self, number: &str) -> Result<Wanted, E> {
        Ok(Wanted { number: Personal::new(number.to_owned()), parameters: None, reference: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Wanted, A::Error> {
        let written = Written::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Wanted { number: written.number, parameters: written.parameters, reference: written.reference })
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    number: Personal<String>,
    parameters: Option<Parameters>,
    reference: Option<Personal<String>>,
}

//! Texts with places for what differs from recipient to recipient: `Hej {{name}}`.
use std::collections::BTreeMap;

use super::Personal;

/// What a recipient's places are filled with, by their names.
pub type Parameters = BTreeMap<String, Personal<String>>;

/// The longest name of a place, characters.
const LONGEST_NAME: usize = 40;

/// Why a text could not be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateRefusal {
    /// A place for which the recipient has nothing.
    #[error("the text has a place {{{{{0}}}}} and the recipient no parameter of that name")]
    Missing(String),
}

impl TemplateRefusal {
    /// The stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "parameter_missing",
        }
    }
}

enum Piece<'a> {
    Words(&'a str),
    Place(&'a str),
}

/// A text, read once for all recipients.
pub struct Template<'a>(Vec<Piece<'a>>);

impl<'a> Template<'a> {
    /// Reads a text. What stands between double braces and is no name is part of the text.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        let (mut pieces, mut from, mut look) = (Vec::new(), 0, 0);
        while let Some(open) = text[look..].find("{{").map(|at| look + at) {
            let inside = &text[open + 2..];
            let Some(end) = inside.find("}}") else { break };
            let name = inside[..end].trim();
            if is_name(name) {
                pieces.extend([Piece::Words(&text[from..open]), Piece::Place(name)]);
                from = open + 2 + end + 2;
                look = from;
            } else {
                // The next braces may begin one within.
                look = open + 1;
            }
        }
        pieces.push(Piece::Words(&text[from..]));
        Self(pieces)
    }

    /// The text of one recipient, and whether it is whole: it has `most` characters at most, since a few words with many places and
    /// many recipients could ask for any number of them.
    ///
    /// # Errors
    /// When a place has no parameter.
    pub fn fill(&self, parameters: &Parameters, most: usize) -> Result<(Personal<String>, bool), TemplateRefusal> {
        let (mut filled, mut room, mut whole) = (String::new(), most, true);
        for piece in &self.0 {
            let words = match piece {
                Piece::Words(words) => words,
                Piece::Place(name) => match parameters.get(*name) {
                    Some(parameter) => parameter.reveal().as_str(),
                    None => return Err(TemplateRefusal::Missing((*name).to_owned())),
                },
            };
            let end = words.char_indices().nth(room).map_or(words.len(), |(at, _)| at);
            filled.push_str(&words[..end]);
            room -= words[..end].chars().count();
            whole &= end == words.len();
        }
        Ok((Personal::new(filled), whole))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= LONGEST_NAME
        && name.chars().all(|sign| sign.is_alphanumeric() || matches!(sign, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, parameters: &[(&str, &str)]) -> Result<String, TemplateRefusal> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), Personal::new((*value).to_owned()));
        let (filled, whole) = Template::read(text).fill(&parameters.iter().map(own).collect(), 1000)?;
        assert!(whole);
        Ok(filled.reveal().clone())
    }

    #[test]
    fn places_are_filled_and_the_rest_stays() {
        let parameters = [("navn", "Åse"), ("tid", "10.15"), ("unused", "x")];
        assert_eq!(
            filled("Hej {{navn}}, kl. {{ tid }}. {{navn}}!", &parameters).as_deref(),
            Ok("Hej Åse, kl. 10.15. Åse!")
        );
        for text in ["", "Hej", "{{", "}}", "{{}}", "{{ }}", "{navn}", "{{na vn}}", "{{navn", "{{navn}"] {
            assert_eq!(filled(text, &parameters).as_deref(), Ok(text));
        }
        assert_eq!(filled("{{{navn}}}", &parameters).as_deref(), Ok("{Åse}"));
        assert_eq!(filled("{{a b {{navn}}", &parameters).as_deref(), Ok("{{a b Åse"));
    }

    #[test]
    fn what_was_filled_in_is_not_read_again() {
        assert_eq!(filled("{{a}}", &[("a", "{{b}}"), ("b", "no")]).as_deref(), Ok("{{b}}"));
    }

    #[test]
    fn a_place_without_a_parameter_is_named() {
        assert_eq!(filled("Hej {{navn}}", &[]), Err(TemplateRefusal::Missing("navn".into())));
        let said = TemplateRefusal::Missing("navn".into()).to_string();
        assert_eq!(said, "the text has a place {{navn}} and the recipient no parameter of that name");
    }

    #[test]
    fn a_text_has_no_more_characters_than_are_asked_for_and_says_whether_it_is_whole() {
        let parameters = [("a".to_owned(), Personal::new("åbcdefghij".to_owned()))].into();
        for text in ["{{a}}".repeat(10_000), "å".repeat(1_000_000), format!("{}{{{{a}}}}", "å".repeat(99))] {
            let (filled, whole) = Template::read(&text).fill(&parameters, 100).expect("filled");
            assert_eq!((filled.reveal().chars().count(), whole), (100, false));
        }
        let (filled, whole) = Template::read(&"{{a}}".repeat(10)).fill(&parameters, 100).expect("filled");
        assert_eq!((filled.reveal().chars().count(), whole), (100, true), "just so many");
        let missing = Template::read(&format!("{}{{{{b}}}}", "å".repeat(200))).fill(&parameters, 100);
        assert_eq!(missing, Err(TemplateRefusal::Missing("b".into())), "also behind the last that is taken");
    }
}

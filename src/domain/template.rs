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

    /// The text of one recipient. It ends soon after `most` characters: nobody sends so many, and few words could ask for
    /// a great many.
    ///
    /// # Errors
    /// When a place has no parameter.
    pub fn fill(&self, parameters: &Parameters, most: usize) -> Result<Personal<String>, TemplateRefusal> {
        let mut filled = String::new();
        let mut count = 0;
        for piece in &self.0 {
            let words = match piece {
                Piece::Words(words) => words,
                Piece::Place(name) => match parameters.get(*name) {
                    Some(parameter) => parameter.reveal().as_str(),
                    None => return Err(TemplateRefusal::Missing((*name).to_owned())),
                },
            };
            if count <= most {
                count += words.chars().count();
                filled.push_str(words);
            }
        }
        Ok(Personal::new(filled))
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
        let filled = Template::read(text).fill(&parameters.iter().map(own).collect(), 1000)?;
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
    fn few_words_do_not_make_a_great_many() {
        let text = "{{a}}".repeat(10_000);
        let parameters = [("a".to_owned(), Personal::new("0123456789".to_owned()))].into();
        let filled = Template::read(&text).fill(&parameters, 100).expect("filled");
        assert!((101..=110).contains(&filled.reveal().len()));
    }
}

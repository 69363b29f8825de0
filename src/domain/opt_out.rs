//! By which words a handset asks to be written to no more, or again.

/// What such an SMS asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing more from this tenant.
    Stop,
    /// To be written to again.
    Start,
}

/// Words that stop, where a tenant has none of its own. None that an ordinary answer may consist of, as `SLUT`, `END` or `QUIT`.
pub const STOP_WORDS: &[&str] = &["STOP", "STOPP", "STOPALL", "UNSUBSCRIBE", "AFMELD", "FRAMELD"];
/// Words that take that back, where a tenant has none of its own.
pub const START_WORDS: &[&str] = &["START", "UNSTOP", "TILMELD"];

/// The words that a tenant listens to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    stop: Vec<String>,
    start: Vec<String>,
}

impl Words {
    /// From lists of words, in any case.
    #[must_use]
    pub fn new(stop: &[String], start: &[String]) -> Self {
        let upper = |words: &[String]| words.iter().map(|word| word.to_uppercase()).collect();
        Self { stop: upper(stop), start: upper(start) }
    }

    /// What a text asks for. It must be such a word and nothing else, in any case, but for signs around it (`Stop!`). Where one number
    /// is shared, the tenant's keyword may stand before it (`STEM STOP`). A word in both lists stops.
    #[must_use]
    pub fn wish(&self, text: &str, is_keyword: impl Fn(&str) -> bool) -> Option<Wish> {
        let mut words = text.split_whitespace();
        let word = match (words.next()?, words.next(), words.next()) {
            (word, None, _) => word,
            (keyword, Some(word), None) if is_keyword(keyword) => word,
            _ => return None,
        };
        let word = word.trim_matches(|sign: char| !sign.is_alphanumeric()).to_uppercase();
        if self.stop.contains(&word) { Some(Wish::Stop) } else { self.start.contains(&word).then_some(Wish::Start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_word_by_itself_is_a_wish_and_a_sentence_is_none() {
        let words = Words::new(&owned(STOP_WORDS), &owned(START_WORDS));
        let wish = |text: &str| words.wish(text, |keyword| keyword.eq_ignore_ascii_case("stem"));
        for text in ["STOP", "stop", "  Stop\r\n", "Stop!", "\"STOP\".", "afmeld", "STEM STOP", "stem stop."] {
            assert_eq!(wish(text), Some(Wish::Stop), "{text:?}");
        }
        for text in ["start", "Tilmeld", "stem START"] {
            assert_eq!(wish(text), Some(Wish::Start), "{text:?}");
        }
        for text in
            ["", " ", "!", "stop det", "STOP STOP", "jeg vil ikke stoppe", "stoppested", "stem ja", "stem stop nu"]
        {
            assert_eq!(wish(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_tenant_has_its_own_words_or_none() {
        let words = Words::new(&owned(&["Færdig"]), &owned(&["færdig", "igen"]));
        assert_eq!(words.wish("FÆRDIG", |_| false), Some(Wish::Stop), "of a word in both lists the safer one counts");
        assert_eq!(words.wish("Igen", |_| false), Some(Wish::Start));
        assert_eq!(words.wish("STOP", |_| false), None);
        assert_eq!(Words::default().wish("STOP", |_| true), None);
    }
}

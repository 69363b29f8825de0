//! Whether a route takes messages: the state of its circuit breaker, as connector, senders, database and status call it.

/// The better before the worse, so that the worst of several is their maximum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Circuit {
    /// The route takes messages.
    #[default]
    Closed,
    /// It is tried again, with one message now and then.
    HalfOpen,
    /// It takes none for a while: tenants use their next route, or wait.
    Open,
}

impl Circuit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// The word that the database holds.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "halfOpen",
            Self::Open => "open",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|circuit| circuit.as_str() == word)
    }

    /// The octet that stands for it on the wire.
    #[must_use]
    pub fn octet(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }

    /// Reads the octet.
    #[must_use]
    pub fn from_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|circuit| circuit.octet() == octet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_octets_are_read_as_they_are_written() {
        for circuit in Circuit::ALL {
            assert_eq!(Circuit::from_word(circuit.as_str()), Some(circuit));
            assert_eq!(Circuit::from_octet(circuit.octet()), Some(circuit));
        }
        assert_eq!((Circuit::from_word("ajar"), Circuit::from_octet(3)), (None, None));
        assert_eq!(Circuit::ALL.into_iter().max(), Some(Circuit::Open), "the worst is the greatest");
    }
}

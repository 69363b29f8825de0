//! Words that nobody else has, and the search for them in every form. The integration tests read this file too.
//!
//! A word is of letters or of digits alone: so UTF-8, the GSM alphabet, JSON, a URL and `Debug` all write it alike.
use std::collections::BTreeSet;
use std::io::{self, Read};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

/// Octets that are read at once.
const CHUNK: usize = 1 << 20;
/// How whoever hands on files says that these were all.
pub(crate) const END: &str = "and that was all of it";

/// A name, which may be told, and what is looked for under it, which may not.
pub(crate) type Word = (&'static str, String);

/// Words that nobody else has.
pub(crate) struct Canaries {
    pub(crate) words: Vec<Word>,
    next: u32,
}

impl Canaries {
    pub(crate) fn new() -> Self {
        Self { words: Vec::new(), next: rand::random_range(0..990_000) }
    }

    pub(crate) fn keep(&mut self, name: &'static str, word: String) -> String {
        self.words.push((name, word.clone()));
        word
    }

    /// A Danish mobile number without the plus. Two differ in more than the last digit, most of which base64 may leave to what
    /// stands behind it.
    pub(crate) fn number(&mut self, name: &'static str) -> String {
        self.next += 10;
        self.keep(name, format!("4526{:06}", self.next))
    }

    pub(crate) fn word(&mut self, name: &'static str) -> String {
        let letters = (0..24).map(|_| char::from(rand::random_range(b'a'..=b'z')));
        self.keep(name, letters.collect())
    }
}

#[derive(Clone)]
pub(crate) struct Search {
    automaton: AhoCorasick,
    /// The word that each needle is a form of.
    names: Vec<&'static str>,
    longest: usize,
}

impl Search {
    /// For words in all their forms, and for marks as they are: these show that the right thing was read.
    pub(crate) fn new(words: &[Word], marks: &[Word]) -> Self {
        let words = words.iter().flat_map(|(name, word)| forms(word).into_iter().map(move |form| (*name, form)));
        let marks = marks.iter().map(|(name, mark)| (*name, mark.as_bytes().to_vec()));
        let end = [(END, END.as_bytes().to_vec())];
        let (names, needles): (Vec<&'static str>, Vec<Vec<u8>>) = words.chain(marks).chain(end).unzip();
        // Hexadecimal comes in either case. Only a DFA is quick with that many needles.
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&needles)
            .expect("an automaton");
        Self { automaton, names, longest: needles.iter().map(Vec::len).max().unwrap_or_default() }
    }

    /// The names of all that is found, to the end of what is read. Holds one chunk of it at a time.
    pub(crate) fn read(&self, mut from: impl Read) -> io::Result<BTreeSet<&'static str>> {
        let (mut found, mut buffer) = (BTreeSet::new(), Vec::new());
        loop {
            // A needle may have begun in the chunk before.
            buffer.drain(..buffer.len().saturating_sub(self.longest));
            let kept = buffer.len();
            from.by_ref().take(CHUNK as u64).read_to_end(&mut buffer)?;
            if buffer.len() == kept {
                return Ok(found);
            }
            let hits = self.automaton.find_overlapping_iter(&buffer);
            found.extend(hits.map(|hit| self.names[hit.pattern().as_usize()]));
        }
    }
}

/// As octets of UTF-8 and of UTF-16: raw, in hexadecimal, as lists of numbers, in base64; and UTF-16 in quotes.
fn forms(word: &str) -> Vec<Vec<u8>> {
    let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let mut forms = Vec::new();
    for octets in [word.as_bytes(), &wide] {
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let numbers: Vec<_> = octets.iter().map(|octet| octet.to_string()).collect();
        forms.extend([octets.to_vec(), hex.into_bytes()]);
        forms.extend([", ", ","].map(|comma| numbers.join(comma).into_bytes()));
        forms.extend((0..3).map(|before| in_base64(octets, before)));
    }
    // How `Debug` and JSON write its zeros, and JSON what `Debug` has written.
    for zero in [r"\0", r"\x00", r"\\0", r"\\x00", r"\u0000"] {
        forms.push(word.chars().map(|sign| format!("{zero}{sign}")).collect::<String>().into_bytes());
    }
    forms
}

/// What base64 makes of it behind so many octets of a group of three, but for signs that hold bits of its neighbours.
fn in_base64(octets: &[u8], before: usize) -> Vec<u8> {
    let group = [&[0; 2][..before], octets].concat();
    let (first, end) = ((before * 8).div_ceil(6), group.len() * 8 / 6);
    BASE64_STANDARD_NO_PAD.encode(group).as_bytes()[first..end].to_vec()
}

#[test]
fn a_word_is_found_in_every_form_and_wherever_it_stands() {
    let word = "enbudstikkegikfragaard";
    let search = Search::new(&[("word", word.to_owned())], &[]);
    let found = |text: &[u8]| search.read(text).expect("memory").contains("word");
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{word} til gård.");
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for octets in [text.into_bytes(), wide] {
            assert!(found(&octets), "{octets:?}");
            let quoted = format!("{:?}", bytes::Bytes::from(octets.clone()));
            let hex: String = octets.iter().map(|octet| format!("{octet:02X}")).collect();
            for text in [
                hex,
                format!("{octets:?}"),
                serde_json::json!(octets).to_string(),
                serde_json::json!(quoted).to_string(),
                quoted,
                octets.escape_ascii().to_string(),
                base64::prelude::BASE64_STANDARD.encode(&octets),
            ] {
                assert!(found(text.as_bytes()), "{text}");
            }
        }
    }
    let border = [vec![b'.'; CHUNK - 7], word.as_bytes().to_vec()].concat();
    assert!(found(&border), "across two chunks");
    assert!(!found(b"enbudstikke"), "a part of it is not it");
}

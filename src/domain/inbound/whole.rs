//! A received message as its tenant reads it: a whole one, or what there is of its parts.
use super::{Content, Inbound};
use crate::domain::Personal;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Who wrote it, as the upstream says.
    pub from: Personal<String>,
    /// The number that was written to.
    pub to: Personal<String>,
    /// The text; `None` where it is none.
    pub text: Option<Personal<String>>,
    /// What is no text, or in an alphabet that is not known.
    pub octets: Option<Personal<Vec<u8>>>,
    /// As how many SMS it was sent: 1 to 255.
    pub parts: u8,
    /// The parts that never came, from 1: their place in the text is not marked.
    pub missing: Vec<u8>,
}

impl Received {
    /// Puts together what was opened of one message: itself, or its parts in any order. `None` of nothing.
    #[must_use]
    pub fn of(mut opened: Vec<Inbound>) -> Option<Self> {
        opened.sort_by_key(place);
        opened.dedup_by_key(|one| place(one));
        let first = opened.first()?;
        let parts = first.segment.map_or(1, |segment| segment.count);
        let missing = (1..=parts).filter(|number| !opened.iter().any(|one| place(one) == *number)).collect();
        let (from, to) = (first.from.clone(), first.to.clone());
        let (text, octets) = match text(&opened) {
            Some(text) => (Some(text), None),
            None => (None, Some(Personal::new(opened.iter().flat_map(|one| octets(&one.content)).copied().collect()))),
        };
        Some(Self { from, to, text, octets, parts, missing })
    }
}

/// Which part it is, from 1.
fn place(one: &Inbound) -> u8 {
    one.segment.map_or(1, |segment| segment.number)
}

/// The text of parts in their order; `None` where one of them is none.
fn text(opened: &[Inbound]) -> Option<Personal<String>> {
    let mut text = String::new();
    let follows = |one: &Inbound, next: &Inbound| {
        one.coding.is_some()
            && (one.coding, one.languages) == (next.coding, next.languages)
            && place(one).checked_add(1) == Some(place(next))
    };
    // Read as one what was written as one: only then a character that was cut in two is whole again.
    for run in opened.chunk_by(follows) {
        match run {
            [Inbound { coding: Some(coding), languages, .. }, ..] => {
                let all = Personal::new(run.iter().flat_map(|one| octets(&one.content)).copied().collect::<Vec<_>>());
                text.push_str(Content::read(all.reveal(), *coding, *languages).text()?);
            }
            whole => text.push_str(whole.first()?.content.text()?),
        }
    }
    Some(Personal::new(text))
}

fn octets(content: &Content) -> &[u8] {
    match content {
        Content::Text(text) => text.reveal().as_bytes(),
        Content::Octets(octets) => octets.reveal(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Languages, Segment};
    use super::*;

    fn part(number: u8, count: u8, coding: u8, octets: &[u8]) -> Inbound {
        Inbound {
            from: Personal::new("4520123456".into()),
            to: Personal::new("1204".into()),
            content: Content::Octets(Personal::new(octets.to_vec())),
            segment: Segment::checked(7, number, count),
            coding: Some(coding),
            languages: Languages::default(),
        }
    }

    fn text_of(parts: Vec<Inbound>) -> (Option<String>, Vec<u8>) {
        let received = Received::of(parts).expect("a message");
        (received.text.map(|text| text.reveal().clone()), received.missing)
    }

    #[test]
    fn parts_are_read_in_their_order_and_each_once() {
        let parts = || vec![part(3, 3, 0, b"c"), part(1, 3, 0, b"a"), part(2, 3, 0, b"b"), part(1, 3, 0, b"a")];
        assert_eq!(text_of(parts()), (Some("abc".into()), vec![]));
        assert_eq!(Received::of(parts()).expect("a message").parts, 3);
        assert_eq!(Received::of(Vec::new()), None);
    }

    #[test]
    fn a_character_that_was_cut_in_two_is_whole_again() {
        let halves = vec![part(1, 2, 8, &[0x00, 0x48, 0xD8, 0x3D]), part(2, 2, 8, &[0xDE, 0x00])];
        assert_eq!(text_of(halves).0.as_deref(), Some("H😀"));
        let octet = vec![part(1, 2, 8, &[0x00, 0x48, 0x00]), part(2, 2, 8, &[0x49])];
        assert_eq!(text_of(octet).0.as_deref(), Some("HI"));
        let escape = vec![part(2, 2, 0, &[0x65]), part(1, 2, 0, &[b'1', 0x1B])];
        assert_eq!(text_of(escape).0.as_deref(), Some("1€"));
    }

    #[test]
    fn parts_are_read_in_the_languages_of_their_headers() {
        let turkish = |part| Inbound { languages: Languages(1, 1), ..part };
        let cut = vec![turkish(part(1, 2, 0, &[0x1c, 0x1b])), turkish(part(2, 2, 0, &[0x73]))];
        assert_eq!(text_of(cut).0.as_deref(), Some("Şş"));
        let mixed = vec![turkish(part(1, 2, 0, &[0x1c])), part(2, 2, 0, &[0x1c])];
        assert_eq!(text_of(mixed).0.as_deref(), Some("ŞÆ"));
    }

    #[test]
    fn what_is_missing_is_told_and_nothing_is_read_across_it() {
        let rest = vec![part(1, 3, 8, &[0x00, 0x48, 0xD8, 0x3D]), part(3, 3, 8, &[0xDE, 0x00, 0x00, 0x49])];
        assert_eq!(text_of(rest), (Some("H\u{FFFD}\u{FFFD}I".into()), vec![2]));
        assert_eq!(text_of(vec![part(2, 2, 0, b"rest")]), (Some("rest".into()), vec![1]));
    }

    #[test]
    fn parts_may_differ_in_their_alphabets_and_be_no_text() {
        let mixed = vec![part(1, 2, 0, b"Hej "), part(2, 2, 8, &[0xD8, 0x3D, 0xDE, 0x00])];
        assert_eq!(text_of(mixed).0.as_deref(), Some("Hej 😀"));
        let binary = Received::of(vec![part(2, 2, 4, &[3]), part(1, 2, 4, &[1, 2])]).expect("a message");
        assert_eq!((binary.text, binary.octets), (None, Some(Personal::new(vec![1, 2, 3]))));
    }

    #[test]
    fn one_that_came_whole_stays_what_it_is() {
        let content = Content::Text(Personal::new("Hej".into()));
        let whole = Inbound { content, segment: None, coding: None, ..part(1, 1, 0, b"") };
        let received = Received::of(vec![whole]).expect("a message");
        assert_eq!((received.parts, &received.missing), (1, &vec![]));
        assert_eq!(received.text, Some(Personal::new("Hej".into())));
    }
}

//! SMS from handsets: headers, alphabets, parts that are put together.
use super::{decoded, key, now};
use crate::connector::delivery::Delivery;
use crate::connector::https;
use crate::connector::inbound::header_of;
use crate::domain::inbound::{Content, Header, Inbound, Languages, Received, Segment, split_header};
use crate::domain::{Encoding, Personal, content, text};
use crate::smpp::CommandId;

/// The first octet says how the rest is to be taken.
pub(crate) fn inbound(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    match how % 5 {
        0 => header(rest),
        1 => {
            if let Some(pdu) = decoded(CommandId::DeliverSm, rest)
                && let Some(delivery) = Delivery::read(&pdu)
            {
                taken(&delivery);
            }
        }
        2 => there_and_back(how / 5, rest),
        3 => parts(rest),
        _ => callback(rest),
    }
}

fn callback(body: &[u8]) {
    let Some(key) = key() else { return };
    https::fuzzing::inbound(body, &key, now(), taken);
}

/// A header takes no more than itself, and tells of a part that can be.
fn header(octets: &[u8]) {
    let (Header { segment, languages }, rest) = split_header(octets);
    assert!(octets.ends_with(rest), "something else than the end of it is left");
    let header = octets.len() - rest.len();
    assert!(header == 0 || header == usize::from(octets[0]) + 1, "a header of another length than it says");
    assert!(header > 0 || (segment.is_none() && languages.are_default()));
    if let Some(segment) = segment {
        assert_eq!(Segment::checked(segment.reference, segment.number, segment.count), Some(segment));
    }
    for coding in [0x00, 0x01, 0x03, 0x04, 0x08, 0x18, 0xF0, 0xF4] {
        read(rest, coding, languages);
        read(rest, coding, Languages(octets.first().map_or(0, |octet| octet % 15), header.to_le_bytes()[0] % 15));
    }
}

/// No more characters than octets, and octets that are no text stay what they are.
fn read(octets: &[u8], coding: u8, languages: Languages) -> Content {
    let content = Content::read(octets, coding, languages);
    match &content {
        Content::Text(text) => assert!(text.reveal().chars().count() <= octets.len()),
        Content::Octets(kept) => assert_eq!(kept.reveal(), octets),
    }
    content
}

/// As the inbox takes it, up to the seal: it is written and read as the same.
fn taken(delivery: &Delivery<'_>) {
    let (Header { segment, languages }, octets) = header_of(delivery);
    if let Some(segment) = segment {
        assert!(segment.count > 1 && (1..=segment.count).contains(&segment.number));
    }
    let inbound = Inbound {
        from: Personal::new(delivery.from.to_owned()),
        to: Personal::new(delivery.to.to_owned()),
        content: match segment {
            None => read(octets, delivery.coding, languages),
            Some(_) => Content::Octets(Personal::new(octets.to_vec())),
        },
        segment,
        coding: segment.map(|_| delivery.coding),
        languages: segment.map(|_| languages).unwrap_or_default(),
    };
    let sealed = content::to_bytes(&inbound);
    assert_eq!(sealed.as_ref().map(|bytes| content::from_bytes::<Inbound>(bytes.reveal())), Ok(Ok(inbound.clone())));
    assert!(format!("{inbound:?}").len() < 200, "more is printed than a segment");
    let received = Received::of(vec![inbound]);
    assert!(received.is_some_and(|received| received.text.is_some() != received.octets.is_some()));
}

/// A text that we would send, in parts as we cut them, is put together as the same in whatever order they come.
fn there_and_back(style: u8, data: &[u8]) {
    let Some((order, written)) = data.split_first() else { return };
    let written = String::from_utf8_lossy(written);
    let encoding = if style.is_multiple_of(2) { Encoding::of(&written) } else { Encoding::Ucs2 };
    let Ok(payloads) = text::split(&written, encoding) else { return };
    let (Ok(count), Some(key)) = (u8::try_from(payloads.len()), key()) else { return };
    let coding = if encoding == Encoding::Gsm { 0x00 } else { 0x08 };
    let mut parts = Vec::new();
    let mut threads = Vec::new();
    for (number, payload) in (1..=count).zip(&payloads) {
        let wide = style % 4 > 1;
        let header = match count {
            1 => Vec::new(),
            _ if wide => vec![6, 8, 4, 0x12, 0x34, count, number],
            _ => vec![5, 0, 3, 0x34, count, number],
        };
        let octets = [&header[..], payload.reveal()].concat();
        assert!(octets.len() <= 160 && header.len() + payload.reveal().len() == octets.len());
        let (header, rest) = if count > 1 { split_header(&octets) } else { (Header::default(), &octets[..]) };
        let reference = if wide { 0x1234 } else { 0x34 };
        assert_eq!((header.segment, rest), (Segment::checked(reference, number, count), &payload.reveal()[..]));
        threads.push(key.thread("4520123456", "1204", reference, count));
        let _ = key.digest("4520123456", "1204", number, rest);
        parts.push(part(header.segment, coding, rest));
    }
    threads.dedup();
    assert_eq!(threads.len(), 1, "parts of one text do not find each other");
    let turn = usize::from(*order) % parts.len();
    parts.rotate_left(turn);
    if *order & 0x80 != 0 {
        parts.reverse();
    }
    let received = Received::of(parts);
    let read = received.as_ref().and_then(|received| received.text.as_ref());
    assert_eq!(read.map(|text| text.reveal().as_str()), Some(&*written), "put together otherwise than cut");
    assert!(received.is_some_and(|received| received.parts == count && received.missing.is_empty()));
}

/// Parts of anything, with holes and repetitions: their order makes no difference, and what is missing is told.
fn parts(data: &[u8]) {
    let Some((&[count, mixed], mut rest)) = data.split_first_chunk() else { return };
    let mut parts = Vec::new();
    while let Some((&[number, length, coding], after)) = rest.split_first_chunk()
        && parts.len() < 64
    {
        let (octets, after) = after.split_at(usize::from(length % 16).min(after.len()));
        rest = after;
        let coding = [0x00, 0x08, 0x03, 0x04][usize::from(if mixed.is_multiple_of(2) { 1 } else { coding }) % 4];
        if let Some(segment) = Segment::checked(7, number, count)
            // Of two that claim one place either may be taken: only such as are the same come twice.
            && !parts.iter().any(|part: &Inbound| part.segment == Some(segment))
        {
            parts.push(part(Some(segment), coding, octets));
        }
    }
    let Some(received) = Received::of(parts.clone()) else { return assert!(parts.is_empty()) };
    let mut again = parts.clone();
    again.reverse();
    again.extend(parts.iter().take(2).cloned());
    assert_eq!(Received::of(again).as_ref(), Some(&received), "their order makes a difference");
    assert_eq!(received.parts, count);
    assert_eq!(received.missing.len() + parts.len(), usize::from(count), "what is missing is not told");
    assert!(received.missing.iter().all(|missing| !parts.iter().any(|part| place(part) == *missing)));
    let all: usize = parts.iter().map(|part| octets(part).len()).sum();
    assert!(received.text.is_some() != received.octets.is_some(), "both a text and none");
    assert!(received.text.is_none_or(|text| text.reveal().chars().count() <= all));
    assert!(received.octets.is_none_or(|kept| kept.reveal().len() == all), "octets were lost");
}

fn part(segment: Option<Segment>, coding: u8, octets: &[u8]) -> Inbound {
    let content = match segment {
        None => Content::read(octets, coding, Languages::default()),
        Some(_) => Content::Octets(Personal::new(octets.to_vec())),
    };
    let (from, to) = (Personal::new("4520123456".to_owned()), Personal::new("1204".to_owned()));
    Inbound { from, to, content, segment, coding: segment.map(|_| coding), languages: Languages::default() }
}

fn place(part: &Inbound) -> u8 {
    part.segment.map_or(1, |segment| segment.number)
}

fn octets(part: &Inbound) -> &[u8] {
    match &part.content {
        Content::Octets(octets) => octets.reveal(),
        Content::Text(_) => &[],
    }
}

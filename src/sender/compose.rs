//! A message as the submit_sm of its parts, in the style of a route's upstream.
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::MessageSubmissionRequestTlvValue as Tlv;
use rusmpp::types::{AnyOctetString, COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, MessagePayload, Npi, RegisteredDelivery, Ton};

use crate::config::sender::{Alphabet, Concatenation, Leg, Receipts};
use crate::domain::{Body, Encoding, MessageId, Personal, SenderId, TextRefusal, text};
use crate::smpp::vendor::MessagePart;

mod pack;

/// The most octets of one part, header included; unpacked septets may be 160.
const SHORT: usize = 160;

/// Why a message cannot be put on the wire. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// The text cannot be written so.
    #[error("split the text: {0}")]
    Split(#[source] TextRefusal),
    /// There is no such part.
    #[error("pick part {0}")]
    Pick(u8),
    /// A field does not fit the protocol.
    #[error("write {0}")]
    Write(&'static str),
}

/// What a route's upstream wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    alphabet: Alphabet,
    concatenation: Concatenation,
    pub(super) receipts: Receipts,
}

impl Style {
    pub(super) fn of(leg: &Leg) -> Self {
        Self { alphabet: leg.alphabet, concatenation: leg.concatenation, receipts: leg.receipts }
    }
}

/// One recipient's message, split once.
#[derive(Debug)]
pub(super) struct Parts {
    to: Personal<String>,
    from: SenderId,
    coding: DataCoding,
    flash: bool,
    style: Style,
    payloads: Vec<Octets>,
}

/// What a part says.
type Octets = Personal<Vec<u8>>;

impl Parts {
    /// Splits the text as a route's upstream wants it.
    pub(super) fn of(body: &Body, style: Style) -> Result<Self, Error> {
        let (coding, payloads) = payloads(body, style).map_err(Error::Split)?;
        let (to, from) = (body.to.digits().clone(), body.from.clone());
        Ok(Self { to, from, coding, flash: body.flash, style, payloads })
    }

    /// How many submits it takes: 1 to 255, as [`text::split`] has it.
    pub(super) fn count(&self) -> u8 {
        u8::try_from(self.payloads.len()).unwrap_or(u8::MAX)
    }

    /// The submit of one part, counted from 1.
    pub(super) fn submit(&self, id: MessageId, part: u8, expires_at: Timestamp) -> Result<SubmitSm, Error> {
        let payload = usize::from(part).checked_sub(1).and_then(|index| self.payloads.get(index));
        let payload = payload.ok_or(Error::Pick(part))?.reveal();
        let parts = self.count();
        let header = if parts > 1 { header(self.style.concatenation, id, parts, part) } else { Vec::new() };
        let esm_class = if header.is_empty() { 0 } else { 0x40 };
        let (ton, npi, from) = source(&self.from);
        let mut submit = SubmitSm::builder()
            .source_addr_ton(ton)
            .source_addr_npi(npi)
            .source_addr(address(from).ok_or(Error::Write("the sender id"))?)
            .dest_addr_ton(Ton::International)
            .dest_addr_npi(Npi::Isdn)
            .destination_addr(address(self.to.reveal().clone().into_bytes()).ok_or(Error::Write("the number"))?)
            .esm_class(EsmClass::from(esm_class))
            .validity_period(absolute(expires_at).ok_or(Error::Write("the validity"))?)
            .registered_delivery(RegisteredDelivery::from(match self.style.receipts {
                Receipts::All => 1,
                Receipts::Failures => 2,
                Receipts::None => 0,
            }))
            .data_coding(self.data_coding())
            .push_tlv(MessagePart { message: id.0, part, parts });
        let octets =
            if self.is_packed() { pack::pack(&header, payload) } else { [header.as_slice(), payload].concat() };
        if self.style.concatenation == Concatenation::Payload && octets.len() > SHORT {
            let payload = MessagePayload::new(AnyOctetString::from_vec(octets));
            return Ok(submit.push_tlv(Tlv::MessagePayload(payload)).build());
        }
        if parts > 1 && self.style.concatenation == Concatenation::Sar {
            submit = submit
                .push_tlv(Tlv::SarMsgRefNum(reference(id)))
                .push_tlv(Tlv::SarTotalSegments(parts))
                .push_tlv(Tlv::SarSegmentSeqnum(part));
        }
        Ok(submit.short_message(OctetString::from_vec(octets).map_err(|_| Error::Write("the text"))?).build())
    }

    /// With the message's class, where it has one: 0x10 and the alphabet's bits (3GPP TS 23.038, section 4).
    fn data_coding(&self) -> DataCoding {
        match (self.flash, self.coding) {
            (true, DataCoding::Ucs2) => DataCoding::from(0x18),
            (true, _) => DataCoding::from(0x10),
            (false, coding) => coding,
        }
    }

    fn is_packed(&self) -> bool {
        self.coding == DataCoding::McSpecific && self.style.alphabet == Alphabet::Gsm7Packed
    }
}

/// The data coding, and the octets of each submit without its header.
fn payloads(body: &Body, style: Style) -> Result<(DataCoding, Vec<Octets>), TextRefusal> {
    let whole = body.text.reveal();
    // What an upstream's alphabet lacks, UTF-16 has.
    let latin = style.alphabet == Alphabet::Latin1 && body.encoding == Encoding::Gsm;
    let encoding =
        if latin && whole.chars().any(|sign| u32::from(sign) > 0xFF) { Encoding::Ucs2 } else { body.encoding };
    // One octet more is a septet, or half a unit, more.
    let longer = style.concatenation == Concatenation::Udh16;
    let mut payloads = text::split_leaving(whole, encoding, usize::from(longer))?;
    let coding = match encoding {
        Encoding::Ucs2 => DataCoding::Ucs2,
        Encoding::Gsm => DataCoding::McSpecific,
    };
    if latin && encoding == Encoding::Gsm {
        let latin1 = |septets: &Octets| {
            let text = text::decode(septets.reveal(), Encoding::Gsm);
            Personal::new(text.reveal().chars().filter_map(|sign| u8::try_from(sign).ok()).collect())
        };
        payloads = payloads.iter().map(latin1).collect();
    }
    if style.concatenation == Concatenation::Payload {
        let whole = payloads.iter().flat_map(|payload| payload.reveal().iter().copied()).collect();
        payloads = vec![Personal::new(whole)];
    }
    Ok((coding, payloads))
}

/// The user data header that ties parts together; none where parameters do it.
fn header(concatenation: Concatenation, id: MessageId, parts: u8, part: u8) -> Vec<u8> {
    let [high, low] = reference(id).to_be_bytes();
    match concatenation {
        Concatenation::Udh8 => vec![0x05, 0x00, 0x03, low, parts, part],
        Concatenation::Udh16 => vec![0x06, 0x08, 0x04, high, low, parts, part],
        Concatenation::Sar | Concatenation::Payload => Vec::new(),
    }
}

/// The parts of a message share it; two messages to one handset at about the same time should not. The random tail of
/// the id makes it so.
fn reference(id: MessageId) -> u16 {
    let octets = id.0.as_bytes();
    u16::from_be_bytes([octets[14], octets[15]])
}

/// Type, plan and octets of a sender id. What ASCII lacks is written in the GSM alphabet, as upstreams expect.
fn source(id: &SenderId) -> (Ton, Npi, Vec<u8>) {
    match id {
        // Short codes are known to the network by themselves; only a full number is international.
        SenderId::Number(digits) if digits.len() < 7 => (Ton::Unknown, Npi::Isdn, digits.as_bytes().to_vec()),
        SenderId::Number(digits) => (Ton::International, Npi::Isdn, digits.as_bytes().to_vec()),
        SenderId::Name(name) => {
            let octets = name.chars().flat_map(|sign| {
                if sign.is_ascii() {
                    return vec![sign as u8];
                }
                let split = text::split(sign.encode_utf8(&mut [0; 4]), Encoding::Gsm);
                split.ok().and_then(|split| split.first().map(|octets| octets.reveal().clone())).unwrap_or_default()
            });
            (Ton::Alphanumeric, Npi::Unknown, octets.collect())
        }
    }
}

fn address(mut octets: Vec<u8>) -> Option<COctetString<1, 21>> {
    octets.push(0);
    COctetString::from_vec(octets).ok()
}

/// YYMMDDhhmmsstnnp in UTC.
fn absolute(at: Timestamp) -> Option<EmptyOrFullCOctetString<17>> {
    let time = at.to_zoned(TimeZone::UTC).strftime("%y%m%d%H%M%S000+\0").to_string();
    EmptyOrFullCOctetString::from_vec(time.into_bytes()).ok()
}

#[cfg(test)]
mod tests;

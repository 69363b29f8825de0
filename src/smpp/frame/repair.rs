//! Mends bodies that `rusmpp` would refuse, or misread, though their meaning is plain. Receipts are money: one stray
//! octet must not lose them. What is mended:
//! - octets above 0x7F in C-strings become `?`; a message id without its NUL gets it, one too long is cut;
//! - times and service types of a wrong length become empty, which means "default";
//! - integers in TLVs get their standard width; a TLV of no legal form is left out; stray octets at the end too.
//!
//! What is not: an address or a text that is too long. Cutting those would send to somebody else, or something else.
use bytes::{BufMut, BytesMut};
use rusmpp::CommandId;
use rusmpp::decode::DecodeWithKey;
use rusmpp::tlvs::{TlvTag, TlvValue};

/// What [`inspect`] found.
pub(super) enum Body {
    /// As the standard wants it.
    Sound,
    /// Mended: read this one instead.
    Mended(BytesMut),
    /// Beyond mending.
    Hopeless,
}

/// Looks through the body of the commands that carry messages; all others pass as they are.
pub(super) fn inspect(id: CommandId, body: &[u8]) -> Body {
    // Two passes, because nearly every body is sound and must cost no allocation.
    let mut look = Walk { rest: body, out: None, changed: false };
    if look.command(id).is_none() {
        return Body::Hopeless;
    }
    if !look.changed {
        return Body::Sound;
    }
    let mut mend = Walk { rest: body, out: Some(BytesMut::with_capacity(body.len() + 8)), changed: false };
    match (mend.command(id), mend.out) {
        (Some(()), Some(mended)) => Body::Mended(mended),
        _ => Body::Hopeless,
    }
}

/// What to do with a C-string that does not fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Misfit {
    Refuse,
    Cut,
    Empty,
}

struct Walk<'a> {
    rest: &'a [u8],
    out: Option<BytesMut>,
    changed: bool,
}

impl<'a> Walk<'a> {
    /// `None`: hopeless.
    fn command(&mut self, id: CommandId) -> Option<()> {
        match id {
            CommandId::SubmitSm | CommandId::DeliverSm => {
                self.c_string(6, Misfit::Empty)?;
                self.address(21)?;
                self.address(21)?;
                self.octets(3)?; // esm_class, protocol_id, priority_flag
                self.time()?; // schedule_delivery_time
                self.time()?; // validity_period
                self.octets(4)?; // registered_delivery, replace_if_present, data_coding, sm_default_msg_id
                let length = self.octets(1)?;
                self.octets(usize::from(*length.first()?))?;
                self.tlvs();
            }
            CommandId::DataSm => {
                self.c_string(6, Misfit::Empty)?;
                self.address(65)?;
                self.address(65)?;
                self.octets(3)?; // esm_class, registered_delivery, data_coding
                self.tlvs();
            }
            CommandId::SubmitSmResp | CommandId::DeliverSmResp | CommandId::DataSmResp if !self.rest.is_empty() => {
                self.c_string(65, Misfit::Cut)?;
                self.tlvs();
            }
            // Nothing belongs after these headers; what comes anyway means nothing.
            CommandId::EnquireLink
            | CommandId::EnquireLinkResp
            | CommandId::Unbind
            | CommandId::UnbindResp
            | CommandId::GenericNack => self.changed |= !self.rest.is_empty(),
            _ => self.keep(self.rest),
        }
        Some(())
    }

    fn keep(&mut self, octets: &[u8]) {
        if let Some(out) = &mut self.out {
            out.put_slice(octets);
        }
    }

    fn octets(&mut self, count: usize) -> Option<&'a [u8]> {
        let (octets, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        self.keep(octets);
        Some(octets)
    }

    fn address(&mut self, max: usize) -> Option<()> {
        self.octets(2)?; // type of number, numbering plan
        self.c_string(max, Misfit::Refuse)
    }

    /// A C-string of at most `max` octets, its NUL included.
    fn c_string(&mut self, max: usize, misfit: Misfit) -> Option<()> {
        let (text, terminated) = match self.rest.iter().position(|octet| *octet == 0) {
            Some(end) => (self.rest.get(..end)?, true),
            // Only the last field can do without its NUL: its end is the end of the PDU.
            None if misfit == Misfit::Cut => (self.rest, false),
            None => return None,
        };
        self.rest = self.rest.get(text.len() + usize::from(terminated)..)?;
        let fits = match misfit {
            _ if text.len() < max => text,
            Misfit::Refuse => return None,
            Misfit::Cut => text.get(..max - 1)?,
            Misfit::Empty => &[],
        };
        self.changed |= !terminated || fits.len() != text.len() || !fits.is_ascii();
        self.put_c_string(fits);
        Some(())
    }

    fn put_c_string(&mut self, text: &[u8]) {
        if let Some(out) = &mut self.out {
            out.extend(text.iter().map(|octet| if octet.is_ascii() { *octet } else { b'?' }));
            out.put_u8(0);
        }
    }

    /// Absolute and relative times are 16 characters, or none.
    fn time(&mut self) -> Option<()> {
        let end = self.rest.iter().position(|octet| *octet == 0)?;
        let text = self.rest.get(..end)?;
        self.rest = self.rest.get(end + 1..)?;
        let fits = if end == 16 && text.is_ascii() { text } else { &[] };
        self.changed |= fits.len() != end;
        self.put_c_string(fits);
        Some(())
    }

    fn tlvs(&mut self) {
        while let Some((head, after)) = self.rest.split_at_checked(4) {
            let &[t0, t1, l0, l1] = head else { break };
            let Some((value, after)) = after.split_at_checked(usize::from(u16::from_be_bytes([l0, l1]))) else { break };
            self.rest = after;
            self.tlv(u16::from_be_bytes([t0, t1]), value);
        }
        // Stray octets, or a TLV that claims more than there is.
        self.changed |= !self.rest.is_empty();
    }

    fn tlv(&mut self, tag: u16, value: &[u8]) {
        match form(tag.into(), value.len()) {
            _ if value.is_empty() => self.put_tlv(tag, value),
            Form::Any => self.put_tlv(tag, value),
            Form::Integer(width) if value.len() == width => self.put_tlv(tag, value),
            Form::Integer(width) => {
                self.changed = true;
                let mut integer = vec![0; width.saturating_sub(value.len())];
                integer.extend_from_slice(value.get(value.len().saturating_sub(width)..).unwrap_or_default());
                self.put_tlv(tag, &integer);
            }
            Form::Text(max) => {
                let end = value.iter().position(|octet| *octet == 0).unwrap_or(value.len()).min(max - 1);
                let text = value.get(..end).unwrap_or_default();
                if end + 1 == value.len() && text.is_ascii() {
                    return self.put_tlv(tag, value);
                }
                self.changed = true;
                let mut mended: Vec<u8> =
                    text.iter().map(|octet| if octet.is_ascii() { *octet } else { b'?' }).collect();
                mended.push(0);
                self.put_tlv(tag, &mended);
            }
            Form::Rare => {
                let mut copy = BytesMut::from(value);
                if TlvValue::decode(tag.into(), &mut copy, value.len()).is_ok() && copy.is_empty() {
                    self.put_tlv(tag, value);
                } else {
                    self.changed = true;
                }
            }
        }
    }

    fn put_tlv(&mut self, tag: u16, value: &[u8]) {
        if let (Some(out), Ok(length)) = (&mut self.out, u16::try_from(value.len())) {
            out.put_u16(tag);
            out.put_u16(length);
            out.put_slice(value);
        }
    }
}

enum Form {
    Any,
    Integer(usize),
    /// At most this many octets, NUL included.
    Text(usize),
    /// Not worth a rule: `rusmpp` is asked.
    Rare,
}

fn form(tag: TlvTag, octets: usize) -> Form {
    match tag {
        TlvTag::Other(_) | TlvTag::MessagePayload => Form::Any,
        TlvTag::ReceiptedMessageId => Form::Text(65),
        TlvTag::AdditionalStatusInfoText => Form::Text(256),
        TlvTag::MessageState
        | TlvTag::MoreMessagesToSend
        | TlvTag::PayloadType
        | TlvTag::PrivacyIndicator
        | TlvTag::LanguageIndicator
        | TlvTag::SarTotalSegments
        | TlvTag::SarSegmentSeqnum
        | TlvTag::UserResponseCode
        | TlvTag::DeliveryFailureReason => Form::Integer(1),
        TlvTag::SarMsgRefNum | TlvTag::UserMessageReference | TlvTag::SourcePort | TlvTag::DestPort => Form::Integer(2),
        TlvTag::QosTimeToLive => Form::Integer(4),
        TlvTag::NetworkErrorCode if octets == 3 => Form::Any,
        _ => Form::Rare,
    }
}

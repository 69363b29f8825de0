//! Framing, and PDUs there and back.
use bytes::{BufMut, BytesMut};
use rusmpp::encode::owned::Encode;
use rusmpp::tlvs::{Tlv, TlvTag};

use crate::smpp::frame::{self, Frame, FrameError, HEADER, MAX_FRAME};
use crate::smpp::vendor::{self, DestinationTag, DoneAt, Flow, MessagePart};
use crate::smpp::{CommandId, CommandStatus, Pdu};

/// The commands that are tried: those with a body of their own, their answers, ours, and two that nobody knows.
const COMMANDS: [u32; 37] = [
    0x0000_0005, // deliver_sm, first: what upstreams say most
    0x0000_0004,
    0x0000_0103,
    0x8000_0004,
    0x8000_0005,
    0x8000_0103,
    0x0000_0001,
    0x0000_0002,
    0x0000_0003,
    0x0000_0006,
    0x0000_0007,
    0x0000_0008,
    0x0000_0009,
    0x0000_000B,
    0x0000_0015,
    0x0000_0021,
    0x0000_0102,
    0x0000_0111,
    0x0000_0112,
    0x0000_0113,
    0x0001_0200,
    0x0001_0201,
    0x0001_0202,
    0x0001_0203,
    0x8000_0000,
    0x8000_0001,
    0x8000_0002,
    0x8000_0003,
    0x8000_0006,
    0x8000_0007,
    0x8000_0009,
    0x8000_0015,
    0x8000_0021,
    0x8000_0111,
    0x8000_0112,
    0x0000_0666,
    0x8000_0666,
];

/// A stream that comes in pieces is cut into the same frames as one that comes at once, no octet is lost, and less than one frame is
/// kept. The first octet says how many follow that say how long the pieces are.
pub(super) fn frame(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let (sizes, stream) = rest.split_at(usize::from(count % 8).min(rest.len()));
    let whole = read(stream, &[]);
    let pieces = read(stream, sizes);
    assert_eq!((&pieces.frames, pieces.broken), (&whole.frames, whole.broken), "pieces make a difference");
    let mut again = BytesMut::new();
    for frame in whole.frames {
        let (id, status, sequence) = (frame.id, frame.status, frame.sequence);
        assert!(format!("{frame:?}").len() < 160, "more is printed than a header");
        let body = frame.into_body();
        again.extend_from_slice(&raw(id, status, sequence, &body));
    }
    again.extend_from_slice(&whole.rest);
    assert_eq!(&again[..], stream, "octets were lost or changed");
}

struct Stream {
    frames: Vec<Frame>,
    broken: Option<FrameError>,
    rest: BytesMut,
}

/// Reads as a session does, in pieces of these sizes over and over; without sizes all at once.
fn read(stream: &[u8], sizes: &[u8]) -> Stream {
    let mut read = Stream { frames: Vec::new(), broken: None, rest: BytesMut::new() };
    let (mut left, mut sizes) = (stream, sizes.iter().cycle());
    while read.broken.is_none() {
        loop {
            match Frame::cut(&mut read.rest) {
                Ok(Some(frame)) => read.frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    read.broken = Some(error);
                    break;
                }
            }
        }
        assert!(read.broken.is_some() || read.rest.len() < MAX_FRAME, "more is kept than a frame has");
        assert!(read.rest.capacity() <= 3 * MAX_FRAME + stream.len(), "room for more than was announced");
        if left.is_empty() {
            break;
        }
        let (piece, after) =
            left.split_at(sizes.next().map_or(left.len(), |size| usize::from(*size) + 1).min(left.len()));
        read.rest.extend_from_slice(piece);
        left = after;
    }
    read.rest.extend_from_slice(left);
    read
}

/// A PDU that carries something is written and read as the same; one that cannot be read has a status for its answer. The first octet
/// says which command it is.
pub(super) fn pdu(data: &[u8]) {
    let Some((command, body)) = data.split_first() else { return };
    let id = CommandId::from(COMMANDS[usize::from(*command) % COMMANDS.len()]);
    if body.len() > MAX_FRAME - HEADER {
        return;
    }
    let frame = framed(id, body);
    let response = frame.is_response();
    match frame.decode() {
        Err(error) => {
            assert!(!response, "an answer is always read, if only its status");
            assert_ne!(error.status(), CommandStatus::EsmeRok);
        }
        Ok(None) => assert!(response, "a request without a body that was taken"),
        Ok(Some(pdu)) => {
            assert_eq!(pdu.command_id(), id);
            if is_carried(id) {
                there_and_back(&pdu);
            }
            ours(pdu);
        }
    }
}

/// Whether it carries messages, holds a session, or is ours: such PDUs are mended before they are read. `rusmpp` takes in answers to
/// binds a parameter of another kind and length than it then writes; nobody here writes one that was read.
fn is_carried(id: CommandId) -> bool {
    let request = CommandId::from(u32::from(id) & !0x8000_0000);
    let messages = matches!(request, CommandId::SubmitSm | CommandId::DeliverSm | CommandId::DataSm);
    messages || matches!(request, CommandId::EnquireLink | CommandId::Unbind | CommandId::Other(_))
}

fn there_and_back(pdu: &Pdu) {
    let mut wire = BytesMut::new();
    frame::encode(&mut wire, pdu.command_id(), CommandStatus::EsmeRok, 7, Some(pdu));
    let octets = wire.clone();
    let cut = Frame::cut(&mut wire).ok().flatten();
    assert!(cut.is_some() && wire.is_empty(), "its length is not what was written");
    let again = cut.and_then(|frame| frame.decode().ok()).flatten();
    assert_eq!(again.as_ref(), Some(pdu), "read otherwise than written");
    let mut once_more = BytesMut::new();
    frame::encode(&mut once_more, pdu.command_id(), CommandStatus::EsmeRok, 7, again.as_ref());
    assert_eq!(once_more, octets, "written otherwise the second time");
}

/// What we add to SMPP.
fn ours(pdu: Pdu) {
    if let Some(flow) = Flow::read(&pdu) {
        assert_eq!(Flow::read(&flow.into()), Some(flow));
    }
    let Pdu::SubmitSm(mut submit) = pdu else { return };
    let others: Vec<_> = submit.tlvs().iter().filter(|tlv| !is_ours(tlv)).map(octets).collect();
    vendor::strip(&mut submit);
    let tlvs = submit.tlvs();
    assert!(MessagePart::find(tlvs).is_none() && DestinationTag::find(tlvs).is_none() && DoneAt::find(tlvs).is_none());
    assert_eq!(tlvs.iter().map(octets).collect::<Vec<_>>(), others, "what is not ours was changed");
    there_and_back_in_octets(&submit.into());
}

/// Of a PDU whose parameters were taken as they are: it is written as something that can be read.
fn there_and_back_in_octets(pdu: &Pdu) {
    let mut wire = BytesMut::new();
    frame::encode(&mut wire, pdu.command_id(), CommandStatus::EsmeRok, 7, Some(pdu));
    let octets = wire.clone();
    let again = Frame::cut(&mut wire).ok().flatten().and_then(|frame| frame.decode().ok()).flatten();
    let mut once_more = BytesMut::new();
    frame::encode(&mut once_more, pdu.command_id(), CommandStatus::EsmeRok, 7, again.as_ref());
    assert_eq!(once_more, octets, "what goes upstream is not what came");
}

fn is_ours(tlv: &Tlv) -> bool {
    matches!(tlv.tag(), TlvTag::Other(0x1400..=0x1402))
}

fn octets(tlv: &Tlv) -> BytesMut {
    let mut octets = BytesMut::new();
    tlv.encode(&mut octets);
    octets
}

fn framed(id: CommandId, body: &[u8]) -> Frame {
    let mut wire = raw(id, CommandStatus::EsmeRok, 7, body);
    let cut = Frame::cut(&mut wire).ok().flatten();
    assert!(cut.is_some() && wire.is_empty(), "a whole frame is no frame");
    cut.unwrap_or_else(|| unreachable!())
}

fn raw(id: CommandId, status: CommandStatus, sequence: u32, body: &[u8]) -> BytesMut {
    let mut wire = BytesMut::with_capacity(HEADER + body.len());
    wire.put_u32(u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX));
    wire.put_u32(id.into());
    wire.put_u32(status.into());
    wire.put_u32(sequence);
    wire.put_slice(body);
    wire
}

//! What the fuzz targets of `fuzz/` try: whatever reads bytes that others wrote. Each function takes any octets and fails by an
//! assertion where something does not hold that must; that nothing panics is the least of it. What a room keeps to itself is tried
//! within the room (`connector::fuzzing`, `api::fuzzing`). The seeds in `fuzz/corpus/` run with the ordinary tests too.
mod smpp;
#[cfg(test)]
mod tests;

/// A stream of SMPP, cut into frames.
pub fn frame(data: &[u8]) {
    smpp::frame(data);
}

/// The body of one PDU, read and written again.
pub fn pdu(data: &[u8]) {
    smpp::pdu(data);
}

/// What an upstream says became of a message: by parameters, by text, or in a callback.
pub fn receipt(data: &[u8]) {
    crate::connector::fuzzing::receipt(data);
}

/// What a handset wrote: its header, its alphabet, and the parts of a longer text.
pub fn inbound(data: &[u8]) {
    crate::connector::fuzzing::inbound(data);
}

/// What callers of the API send: bodies, parameters and cursors.
pub fn api(data: &[u8]) {
    crate::api::fuzzing::api(data);
}

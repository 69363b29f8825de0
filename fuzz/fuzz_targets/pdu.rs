//! See `budstikke::fuzzing::pdu`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| budstikke::fuzzing::pdu(data));

//! See `budstikke::fuzzing::inbound`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| budstikke::fuzzing::inbound(data));

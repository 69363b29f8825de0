//! See `budstikke::fuzzing::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| budstikke::fuzzing::frame(data));

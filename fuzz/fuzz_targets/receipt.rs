//! See `budstikke::fuzzing::receipt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| budstikke::fuzzing::receipt(data));

//! See `budstikke::fuzzing::api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| budstikke::fuzzing::api(data));

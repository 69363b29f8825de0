//! Looks for words that must not be there, whatever form they stand in. `sources` says where, and `plants` what must be
//! found there.
pub(crate) mod plants;
pub(crate) mod sources;
mod words;

pub(crate) use words::{Canaries, END, Search};

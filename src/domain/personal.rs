//! Personal data that cannot be printed by accident (D10).
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A number, text or address of a person: `Debug` and `Display` show `[personal]`, the memory is wiped on drop.
/// [`Personal::reveal`] is the one way to the content, easy to find in a review.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Personal<T: Zeroize>(T);

impl<T: Zeroize> Personal<T> {
    /// Takes the content in.
    pub fn new(content: T) -> Self {
        Self(content)
    }

    /// The content, for encryption or for the wire; never for a log.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> std::fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[personal]")
    }
}

impl<T: Zeroize> std::fmt::Display for Personal<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[personal]")
    }
}

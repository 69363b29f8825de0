//! Keys as a pod reads them.
use serde::{Deserialize, Serialize};

use crate::domain::Secret;

/// A key and the name by which ciphertexts refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedKey {
    /// Its name in the keyring.
    pub name: String,
    /// The key's bytes in base64 (standard alphabet, padded).
    pub key: Secret,
}

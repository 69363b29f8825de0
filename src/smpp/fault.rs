//! Whose fault a refused submit is: the route's, so that another route may take the message, or the message's own.
use rusmpp::CommandStatus;

/// A fault of the route's. What is none is the message's own (a destination that is not one, a text that does not fit),
/// and no other route would take it either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not so fast: the same again, later.
    Throttled,
    /// The upstream has a trouble that may pass.
    Passing,
    /// The upstream will take nothing from us until somebody changes something: the bind, the account, or what it may do.
    Lasting,
}

impl Fault {
    /// By SMPP 3.4, 5.1.3, and 5.0, 4.7.6.
    #[must_use]
    pub fn of(status: CommandStatus) -> Option<Self> {
        use CommandStatus as Status;
        match status {
            Status::EsmeRthrottled | Status::EsmeRmsgqful => Some(Self::Throttled),
            Status::EsmeRsyserr | Status::EsmeRxTAppn => Some(Self::Passing),
            Status::EsmeRinvcmdid
            | Status::EsmeRinvbndsts
            | Status::EsmeRalybnd
            | Status::EsmeRbindfail
            | Status::EsmeRinvpaswd
            | Status::EsmeRinvsysid
            | Status::EsmeRinvsystyp
            | Status::EsmeRinvsertyp
            | Status::EsmeRsertypunauth
            | Status::EsmeRprohibited
            | Status::EsmeRsertypunavail
            | Status::EsmeRsertypdenied => Some(Self::Lasting),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_the_routes_or_the_messages() {
        for (status, fault) in [
            (0x58, Some(Fault::Throttled)),
            (0x14, Some(Fault::Throttled)),
            (0x08, Some(Fault::Passing)),
            (0x64, Some(Fault::Passing)),
            (0x0D, Some(Fault::Lasting)),
            (0x101, Some(Fault::Lasting)),
            (0x0A, None),
            (0x0B, None),
            (0x45, None),
            // HTTP 400, as a connector of an upstream over HTTPS hands it on.
            (400, None),
        ] {
            assert_eq!(Fault::of(CommandStatus::from(status)), fault, "{status:#x}");
        }
    }
}

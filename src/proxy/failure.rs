//! Why an exchange could not be answered as asked, before it is a response (`respond.rs` makes it one).

use std::io;

use crate::observe::Reason;

/// A refusal or a failure: the reason, the status it earns and a word for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub reason: Reason,
    /// Of the local reply; 0 where nobody is left to answer.
    pub status: u16,
    /// What exactly, in the log only.
    pub detail: &'static str,
}

impl Failure {
    /// A failure with the status its reason usually earns.
    pub fn of(reason: Reason) -> Self {
        Self { reason, status: reason.status().unwrap_or(0), detail: "" }
    }

    /// The same with a word for the log.
    #[must_use]
    pub fn detail(self, detail: &'static str) -> Self {
        Self { detail, ..self }
    }

    /// A request that breaks the rules, answered with `status`.
    pub fn malformed(status: u16, detail: &'static str) -> Self {
        let reason = match status {
            431 => Reason::HeadTooLarge,
            414 => Reason::TargetTooLong,
            501 if detail == "method-too-long" => Reason::MethodTooLong,
            501 => Reason::CodingUnsupported,
            505 => Reason::VersionUnsupported,
            _ => Reason::Malformed,
        };
        Self { reason, status, detail }
    }

    /// The client has gone: nobody is left to answer.
    pub fn client_closed() -> Self {
        Self::of(Reason::ClientClosed)
    }

    /// What a failed connect means.
    pub fn of_connect(error: &io::Error) -> Self {
        Self::of(match error.kind() {
            io::ErrorKind::TimedOut => Reason::ConnectTimeout,
            io::ErrorKind::ConnectionRefused => Reason::ConnectRefused,
            io::ErrorKind::OutOfMemory => Reason::NoResources,
            _ => Reason::ConnectFailed,
        })
    }
}

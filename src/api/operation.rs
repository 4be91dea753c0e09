//! What a consumer may ask.

/// An operation of the API. Which version knows which stands in [`super::version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Which device: IMEI and what follows from it.
    RetrieveIdentifier,
    /// Which type of device: TAC and what follows from it.
    RetrieveType,
    /// Which device, by a name that only this consumer knows it by.
    RetrievePpid,
    /// Whether it is the device that the consumer takes it for.
    MatchIdentifier,
}

impl Operation {
    /// As it stands in paths and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetrieveIdentifier => "retrieve-identifier",
            Self::RetrieveType => "retrieve-type",
            Self::RetrievePpid => "retrieve-ppid",
            Self::MatchIdentifier => "match-identifier",
        }
    }

    /// The scope that a token needs for it.
    pub(super) fn scope(self) -> &'static str {
        match self {
            Self::RetrieveIdentifier => "device-identifier:retrieve-identifier",
            Self::RetrieveType => "device-identifier:retrieve-type",
            Self::RetrievePpid => "device-identifier:retrieve-ppid",
            Self::MatchIdentifier => "device-identifier:match-identifier",
        }
    }
}

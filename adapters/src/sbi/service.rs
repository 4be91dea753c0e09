//! The services that the bridge consumes, by the names of TS 29.510 6.1.6.3.11.

use super::NfType;

/// A service of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceName {
    /// Registrations of a subscription (TS 29.503).
    NudmUecm,
    /// Subscriber data (TS 29.503).
    NudmSdm,
    /// Events of a subscription (TS 29.503).
    NudmEe,
    /// Sessions by address (TS 29.521).
    NbsfManagement,
    /// Translations of addresses (TS 29.564).
    NupfGueip,
    /// Events of sessions (TS 29.508).
    NsmfEventExposure,
    /// The register of network functions (TS 29.510).
    NnrfNfm,
    /// Searches in it (TS 29.510).
    NnrfDisc,
    /// Access tokens (TS 29.510).
    NnrfOauth2,
}

impl ServiceName {
    /// How many there are.
    pub(super) const COUNT: usize = 9;

    /// All of them.
    const ALL: [Self; Self::COUNT] = [
        Self::NudmUecm,
        Self::NudmSdm,
        Self::NudmEe,
        Self::NbsfManagement,
        Self::NupfGueip,
        Self::NsmfEventExposure,
        Self::NnrfNfm,
        Self::NnrfDisc,
        Self::NnrfOauth2,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::NudmUecm => "nudm-uecm",
            Self::NudmSdm => "nudm-sdm",
            Self::NudmEe => "nudm-ee",
            Self::NbsfManagement => "nbsf-management",
            Self::NupfGueip => "nupf-gueip",
            Self::NsmfEventExposure => "nsmf-event-exposure",
            Self::NnrfNfm => "nnrf-nfm",
            Self::NnrfDisc => "nnrf-disc",
            Self::NnrfOauth2 => "nnrf-oauth2",
        }
    }

    /// The service of this name, if it is one of ours.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Who offers it.
    pub fn producer(self) -> NfType {
        match self {
            Self::NudmUecm | Self::NudmSdm | Self::NudmEe => NfType::Udm,
            Self::NbsfManagement => NfType::Bsf,
            Self::NupfGueip => NfType::Upf,
            Self::NsmfEventExposure => NfType::Smf,
            Self::NnrfNfm | Self::NnrfDisc | Self::NnrfOauth2 => NfType::Nrf,
        }
    }

    /// Whether a token of the NRF is asked for before it is (TS 29.510 5.4.2.2): the token's own
    /// service and the register cannot ask for one.
    pub(super) fn wants_token(self) -> bool {
        self.producer() != NfType::Nrf
    }
}

/// A set of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Services(u16);

impl Services {
    /// Every service that there is: of an instance that nobody described.
    pub const ALL: Self = Self(u16::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// This set and one more.
    #[must_use]
    pub fn with(self, service: ServiceName) -> Self {
        Self(self.0 | 1 << service as u16)
    }

    /// Whether it is in the set.
    pub fn contains(self, service: ServiceName) -> bool {
        self.0 & (1 << service as u16) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_service() {
        for service in ServiceName::ALL {
            assert_eq!(ServiceName::by_name(service.name()), Some(service));
            assert!(Services::ALL.contains(service));
            assert!(Services::NONE.with(service).contains(service));
        }
        assert!(
            !Services::NONE
                .with(ServiceName::NudmUecm)
                .contains(ServiceName::NudmSdm)
        );
        assert_eq!(ServiceName::by_name("namf-comm"), None);
    }
}

//! The body of a request, by the form that its version and operation ask for.

use super::Operation;
use super::device_json::{self, known};
use super::error::ApiError;
use super::json::members;
use super::provided::ProvidedIdentifier;
use super::version::{BodyForm, Rules, Version};
use crate::lookup::{DeviceQuery, Wanted};

/// What is asked.
#[derive(Debug)]
pub struct Request {
    /// Of which device, where the body names one.
    pub device: Option<DeviceQuery>,
    /// And what of it.
    pub asked: Asked,
}

/// What is asked of a device, with all that the operation needs for it.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// Which it is.
    Identifier,
    /// Of which type it is.
    Type,
    /// By which name this consumer knows it.
    Ppid,
    /// Whether it is this one.
    Match(ProvidedIdentifier),
}

impl Asked {
    /// What the core is asked for, and the subscriber's consent is needed for.
    pub(super) fn wanted(self) -> Wanted {
        match self {
            Self::Identifier => Wanted::Identifier,
            Self::Type | Self::Match(ProvidedIdentifier::Tac(_)) => Wanted::Type,
            Self::Ppid | Self::Match(_) => Wanted::IdentifierAlone,
        }
    }
}

const NO_OBJECT: &str = "The body is not a JSON object with unique member names";

/// Reads a body by the rules of a version.
pub fn parse(version: Version, operation: Operation, body: &[u8]) -> Result<Request, ApiError> {
    let rules = version.rules();
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::invalid("The body is not UTF-8 encoded JSON"))?;
    let plain = match operation {
        Operation::RetrieveIdentifier => Asked::Identifier,
        Operation::RetrieveType => Asked::Type,
        Operation::RetrievePpid => Asked::Ppid,
        Operation::MatchIdentifier => return read_match(text, rules),
    };
    let device = match rules.body {
        BodyForm::Device => Some(device_json::read(text, NO_OBJECT, rules)?),
        BodyForm::OptionalDevice => {
            let body = members(text, &["device"]).ok_or(ApiError::invalid(NO_OBJECT))?;
            let [device] = known(body, rules)?;
            device
                .map(|raw| read_device(raw.get(), rules))
                .transpose()?
        }
    };
    Ok(Request {
        device,
        asked: plain,
    })
}

fn read_match(text: &str, rules: &Rules) -> Result<Request, ApiError> {
    const NAMES: [&str; 3] = ["device", "providedIdentifierType", "providedIdentifier"];
    let body = members(text, &NAMES).ok_or(ApiError::invalid(NO_OBJECT))?;
    let [device, kind, value] = known(body, rules)?;
    Ok(Request {
        device: device
            .map(|raw| read_device(raw.get(), rules))
            .transpose()?,
        asked: Asked::Match(ProvidedIdentifier::read(kind, value)?),
    })
}

fn read_device(text: &str, rules: &Rules) -> Result<DeviceQuery, ApiError> {
    device_json::read(text, "Invalid format: device", rules)
}

#[cfg(test)]
mod tests;

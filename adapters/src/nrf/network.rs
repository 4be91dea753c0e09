//! Networks and slices by their identifiers (TS 29.571 5.4.4.2, 5.4.4.3).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A public land mobile network. As text: `001-01`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlmnId {
    mcc: String,
    mnc: String,
}

/// A slice. As text: `1`, or `1-00000a` with its differentiator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snssai {
    sst: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    sd: Option<String>,
}

/// Why a text names no network and no slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Not a country code and a network code.
    #[error("a PLMN is a country code of 3 digits and a network code of 2 or 3 (\"001-01\")")]
    Plmn,
    /// Not a slice type with or without a differentiator.
    #[error(
        "an S-NSSAI is an SST of 0 to 255, and perhaps an SD of 6 hexadecimal digits \
         (\"1-00000a\")"
    )]
    Snssai,
}

impl FromStr for PlmnId {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (mcc, mnc) = text.split_once('-').ok_or(InvalidNetwork::Plmn)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let valid = mcc.len() == 3 && (2..=3).contains(&mnc.len()) && digits(mcc) && digits(mnc);
        valid
            .then(|| Self {
                mcc: mcc.to_owned(),
                mnc: mnc.to_owned(),
            })
            .ok_or(InvalidNetwork::Plmn)
    }
}

impl fmt::Display for PlmnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.mcc, self.mnc)
    }
}

impl FromStr for Snssai {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (sst, sd) = match text.split_once('-') {
            Some((sst, sd)) => (sst, Some(sd)),
            None => (text, None),
        };
        let is_sd = |sd: &str| sd.len() == 6 && sd.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !sd.is_none_or(is_sd) {
            return Err(InvalidNetwork::Snssai);
        }
        Ok(Self {
            sst: sst.parse().map_err(|_| InvalidNetwork::Snssai)?,
            sd: sd.map(str::to_owned),
        })
    }
}

impl fmt::Display for Snssai {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sd {
            Some(sd) => write!(f, "{}-{sd}", self.sst),
            None => write!(f, "{}", self.sst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_slices_are_read_and_written_alike() {
        for text in ["001-01", "310-410"] {
            assert_eq!(text.parse::<PlmnId>().unwrap().to_string(), text);
        }
        for text in ["1", "255", "1-00000a"] {
            assert_eq!(text.parse::<Snssai>().unwrap().to_string(), text);
        }
        for text in ["", "00101", "001-1", "01-001", "001-0a", "001-0101"] {
            assert_eq!(text.parse::<PlmnId>(), Err(InvalidNetwork::Plmn), "{text}");
        }
        for text in ["", "256", "1-", "1-a", "1-00000g", "x"] {
            assert_eq!(
                text.parse::<Snssai>(),
                Err(InvalidNetwork::Snssai),
                "{text}"
            );
        }
    }
}

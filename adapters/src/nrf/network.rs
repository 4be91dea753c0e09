//! Networks, slices and NF sets by their identifiers (TS 29.571 5.4.4.2, 5.4.4.3, TS 23.003 28.12).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::sbi::NfType;

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

/// A set of instances of one type. As text: `set1.udmset.5gc.mnc001.mcc001`, or
/// `set1.udmset.5gc.nid000007ed9d5.mnc001.mcc001` in a network of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NfSetId {
    text: String,
    nf_type: NfType,
}

/// Why a text names no network, no slice and no NF set.
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
    /// Not a set of instances that are searched for.
    #[error(
        "an NF set is a set ID, the function (udm, bsf, upf or smf) and a network of 3 and 3 digits \
         (\"set1.udmset.5gc.mnc001.mcc001\")"
    )]
    NfSet,
}

/// The types of which instances are searched for.
const SEARCHED: [NfType; 4] = [NfType::Udm, NfType::Bsf, NfType::Upf, NfType::Smf];

impl NfSetId {
    /// Of which type its instances are.
    pub fn nf_type(&self) -> NfType {
        self.nf_type
    }
}

impl FromStr for NfSetId {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let labels: Vec<_> = text.split('.').collect();
        let (set, of_type, mnc, mcc) = match *labels {
            [set, of_type, "5gc", mnc, mcc] => (set, of_type, mnc, mcc),
            [set, of_type, "5gc", nid, mnc, mcc] if is_nid(nid) => (set, of_type, mnc, mcc),
            _ => return Err(InvalidNetwork::NfSet),
        };
        let of_type = of_type.strip_suffix("set").unwrap_or_default();
        let mut searched = SEARCHED.into_iter();
        let nf_type = searched.find(|one| one.name().eq_ignore_ascii_case(of_type));
        let is_code = |label: &str, kind| {
            let code = label.strip_prefix(kind).unwrap_or_default();
            code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_whole = is_set_id(set) && is_code(mnc, "mnc") && is_code(mcc, "mcc");
        let nf_type = nf_type.filter(|_| is_whole).ok_or(InvalidNetwork::NfSet)?;
        Ok(Self {
            text: text.to_owned(),
            nf_type,
        })
    }
}

fn is_set_id(label: &str) -> bool {
    let id = label.strip_prefix("set").unwrap_or_default();
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    id.bytes().all(is_of_id) && id.ends_with(|last: char| last.is_ascii_alphanumeric())
}

/// The identifier of a network of its own (TS 23.003 12.7).
fn is_nid(label: &str) -> bool {
    let nid = label.strip_prefix("nid").unwrap_or_default();
    nid.len() == 11 && nid.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for NfSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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

    #[test]
    fn a_set_names_the_function_that_it_is_of() {
        for (text, nf_type) in [
            ("set1.udmset.5gc.mnc001.mcc001", NfType::Udm),
            ("setnorth-1.bsfset.5gc.mnc010.mcc310", NfType::Bsf),
            ("setA.upfset.5gc.mnc001.mcc001", NfType::Upf),
            ("set1.smfset.5gc.nid000007ed9d5.mnc001.mcc001", NfType::Smf),
        ] {
            let set: NfSetId = text.parse().unwrap();
            assert_eq!((set.nf_type(), set.to_string().as_str()), (nf_type, text));
        }
        for text in [
            "",
            "set1",
            "set.udmset.5gc.mnc001.mcc001",
            "set1-.udmset.5gc.mnc001.mcc001",
            "set_1.udmset.5gc.mnc001.mcc001",
            "1.udmset.5gc.mnc001.mcc001",
            "set1.udm.5gc.mnc001.mcc001",
            "set1.amfset.5gc.mnc001.mcc001",
            "set1.udmset.mnc001.mcc001",
            "set1.udmset.5gc.mnc01.mcc001",
            "set1.udmset.5gc.mcc001.mnc001",
            "set1.udmset.5gc.nid7.mnc001.mcc001",
        ] {
            assert_eq!(
                text.parse::<NfSetId>(),
                Err(InvalidNetwork::NfSet),
                "{text}"
            );
        }
    }
}

//! In which form of prefix a BSF wants to be asked for an IPv6 address, learned of each by itself:
//! the BSFs of one core need not be of one make.

use std::net::Ipv6Addr;

use arc_swap::ArcSwap;
use ipnet::Ipv6Net;

use crate::sbi::{Path, Producer, ProducerId};

pub(super) const PCF_BINDINGS: &str = "/nbsf-management/v1/pcfBindings?";

/// How a BSF wants to be asked for the session of an IPv6 address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Dialect {
    /// For the address as a /128, as TS 29.521 says.
    #[default]
    Address,
    /// For the /64 that contains it.
    Prefix,
}

/// More BSFs than a core has.
const MOST_BSFS: usize = 64;

/// In which dialects BSFs have found something, the one that did so last at the end.
#[derive(Debug, Default)]
pub(super) struct Dialects(ArcSwap<Vec<(ProducerId, Dialect)>>);

impl Dialects {
    /// The one to begin with, before it is known which BSF is asked.
    pub(super) fn usual(&self) -> Dialect {
        self.0
            .load()
            .last()
            .map(|(_, dialect)| *dialect)
            .unwrap_or_default()
    }

    pub(super) fn of(&self, bsf: Option<&Producer>) -> Option<Dialect> {
        let bsf = bsf?;
        let known = self.0.load();
        let known = known.iter().find(|(id, _)| bsf.is(id))?;
        Some(known.1)
    }

    pub(super) fn learn(&self, bsf: Option<&Producer>, dialect: Dialect) {
        let Some(bsf) = bsf else { return };
        if self.usual() == dialect && self.of(Some(bsf)) == Some(dialect) {
            return;
        }
        self.0.rcu(|known| {
            let others = known.iter().filter(|(id, _)| !bsf.is(id));
            let excess = others.clone().count().saturating_sub(MOST_BSFS - 1);
            let mut known: Vec<_> = others.skip(excess).cloned().collect();
            known.push((bsf.id(), dialect));
            known
        });
    }
}

impl Dialect {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Address => Self::Prefix,
            Self::Prefix => Self::Address,
        }
    }

    pub(super) fn path(self, address: Ipv6Addr) -> Path {
        let path = Path::new(PCF_BINDINGS).literal("ipv6Prefix=");
        match self {
            Self::Address => path.address(address).literal("%2F128"),
            Self::Prefix => path.address(prefix(address)).literal("%2F64"),
        }
    }

    /// Whether a core that takes this dialect writes the /64 of this address so: some register it as
    /// its first address with a longer prefix. Another part of it may be another one's.
    pub(super) fn writes(self, address: Ipv6Addr, net: &Ipv6Net) -> bool {
        match self {
            Self::Address => false,
            Self::Prefix => net.prefix_len() >= 64 && net.addr() == prefix(address),
        }
    }
}

/// The first address of the /64.
fn prefix(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_prefix_is_the_first_half_of_the_address() {
        let address: Ipv6Addr = "2001:db8:85a3:8d3:1:2:3:4".parse().unwrap();
        for (dialect, end) in [
            (
                Dialect::Address,
                "?ipv6Prefix=2001:db8:85a3:8d3:1:2:3:4%2F128",
            ),
            (Dialect::Prefix, "?ipv6Prefix=2001:db8:85a3:8d3::%2F64"),
        ] {
            assert!(
                dialect
                    .path(address)
                    .build()
                    .unwrap()
                    .as_str()
                    .ends_with(end)
            );
        }
    }

    #[test]
    fn each_bsf_has_its_own_dialect_and_only_so_many_are_remembered() {
        let bsf = |number: u128| Producer::Named(Uuid::from_u128(number));
        let dialects = Dialects::default();
        assert_eq!(dialects.usual(), Dialect::Address);
        assert_eq!(dialects.of(Some(&bsf(0))), None);
        for number in 0..200 {
            dialects.learn(Some(&bsf(number)), Dialect::Address);
        }
        dialects.learn(Some(&bsf(150)), Dialect::Prefix);
        assert_eq!(dialects.usual(), Dialect::Prefix);
        for (number, known) in [
            (199, Some(Dialect::Address)),
            (150, Some(Dialect::Prefix)),
            (0, None),
        ] {
            assert_eq!(dialects.of(Some(&bsf(number))), known, "{number}");
        }
        assert_eq!(dialects.0.load().len(), MOST_BSFS);
    }
}

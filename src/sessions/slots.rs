//! Where sessions lie: 48 bytes each, in pieces, so that growing moves and doubles nothing.

use device::PackedUeId;

use super::{Part, SmfId};

/// A session, or a further prefix of one.
#[derive(Clone, Copy)]
pub(super) struct Session {
    /// Whose it is; absent where that does not fit a word and is kept aside.
    pub(super) owner: Option<PackedUeId>,
    /// The last word about it, by the SMF's clock: microseconds since the epoch.
    pub(super) time: i64,
    /// In two words, for the sake of alignment.
    prefix: [u64; 2],
    /// Zero where there is none: nobody's session has 0.0.0.0.
    pub(super) ipv4: u32,
    pub(super) ip_domain: DomainId,
    pub(super) smf: SmfId,
    epoch: u16,
    /// [`NO_PREFIX`] where there is none.
    prefix_length: u8,
    pub(super) pdu_session_id: u8,
    /// Whether it lost an address by the last word about it.
    pub(super) narrowed: bool,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is here.
    Free,
    /// A session.
    Live,
    /// Addresses that a session may have or not: nobody is answered with them, nor with whoever has a
    /// shorter prefix or the same address in another domain.
    Doubted,
    /// It ended: kept for a while, for a word about it that comes late.
    Released,
}

/// An IP domain by its place in the list of their names; zero where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DomainId(pub(super) u16);

impl DomainId {
    pub(super) const UNKNOWN: Self = Self(0);
}

const NO_PREFIX: u8 = u8::MAX;

impl Session {
    /// A session without addresses.
    pub(super) fn new(
        owner: Option<PackedUeId>,
        pdu_session_id: u8,
        part: Part,
        time: i64,
    ) -> Self {
        let Part { smf, epoch } = part;
        Self {
            owner,
            time,
            prefix: [0; 2],
            ipv4: 0,
            ip_domain: DomainId::UNKNOWN,
            smf,
            epoch,
            prefix_length: NO_PREFIX,
            pdu_session_id,
            narrowed: false,
            state: State::Live,
        }
    }

    /// Which subscription at which SMF told of it.
    pub(super) fn part(&self) -> Part {
        Part {
            smf: self.smf,
            epoch: self.epoch,
        }
    }

    /// The bits of the prefix and how many of them count.
    pub(super) fn prefix(&self) -> Option<(u128, u8)> {
        let [high, low] = self.prefix;
        let bits = (u128::from(high) << 64) | u128::from(low);
        (self.prefix_length != NO_PREFIX).then_some((bits, self.prefix_length))
    }

    pub(super) fn set_prefix(&mut self, prefix: Option<(u128, u8)>) {
        let (bits, length) = prefix.unwrap_or((0, NO_PREFIX));
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        self.prefix = [half(bits >> 64), half(bits)];
        self.prefix_length = length;
    }
}

/// Sessions in one piece.
const PIECE: usize = 4096;

#[derive(Default)]
pub(super) struct Slots {
    pieces: Vec<Vec<Session>>,
    free: Vec<u32>,
}

impl Slots {
    /// How many sessions there are.
    pub(super) fn used(&self) -> usize {
        self.ever() - self.free.len()
    }

    /// How many slots there are, free ones among them.
    pub(super) fn ever(&self) -> usize {
        self.pieces
            .last()
            .map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Session> {
        let slot = usize::try_from(slot).ok()?;
        self.pieces.get(slot / PIECE)?.get(slot % PIECE)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Session> {
        let slot = usize::try_from(slot).ok()?;
        self.pieces.get_mut(slot / PIECE)?.get_mut(slot % PIECE)
    }

    /// `None` where there is no number left.
    pub(super) fn insert(&mut self, session: Session) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot)? = session;
            return Some(slot);
        }
        let slot = u32::try_from(self.ever()).ok()?;
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(session),
            _ => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(session);
                self.pieces.push(piece);
            }
        }
        Some(slot)
    }

    pub(super) fn free(&mut self, slot: u32) {
        if let Some(session) = self.get_mut(slot)
            && session.state != State::Free
        {
            session.state = State::Free;
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_what_is_said() {
        assert_eq!(size_of::<Session>(), 48);
    }
}

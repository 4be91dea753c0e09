//! The SMFs of the table: whose word counts, and whether all of them have told everything.

use super::slots::Session;
use super::{Part, SmfId};

#[derive(Default)]
pub(super) struct Smfs {
    all: Vec<Smf>,
}

struct Smf {
    epoch: u16,
    trust: Trust,
    /// Whether its subscription may be lost.
    in_doubt: bool,
    /// Whether something that it told is not in the table.
    incomplete: bool,
    /// The latest of the ends that it told and that are not kept any more.
    forgotten: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Its immediate report is not over.
    Reporting,
    /// What it told counts.
    Live,
    /// What it told does not count.
    Lost,
    /// Nothing is expected of it.
    Gone,
}

impl Smf {
    fn new() -> Self {
        Self {
            epoch: 0,
            trust: Trust::Lost,
            in_doubt: false,
            incomplete: false,
            forgotten: None,
        }
    }

    fn is_heard(&self) -> bool {
        match self.trust {
            Trust::Reporting | Trust::Live => true,
            Trust::Lost | Trust::Gone => false,
        }
    }

    fn counts(&self) -> bool {
        self.trust == Trust::Live && !self.in_doubt
    }
}

impl Smfs {
    /// `None` where no number is left.
    pub(super) fn add(&mut self) -> Option<SmfId> {
        // One that is gone makes room: under a new epoch, nothing of the old one counts.
        let gone = self.all.iter().position(|smf| smf.trust == Trust::Gone);
        let place = gone.unwrap_or(self.all.len());
        let id = u16::try_from(place).ok().filter(|id| *id < u16::MAX)?;
        match self.all.get_mut(place) {
            Some(smf) => smf.trust = Trust::Lost,
            None => self.all.push(Smf::new()),
        }
        Some(SmfId(id))
    }

    pub(super) fn remove(&mut self, smf: SmfId) {
        if let Some(smf) = self.all.get_mut(usize::from(smf.0)) {
            smf.trust = Trust::Gone;
        }
    }

    pub(super) fn begin(&mut self, smf: SmfId) -> Part {
        let mut epoch = 0;
        if let Some(smf) = self.all.get_mut(usize::from(smf.0)) {
            epoch = smf.epoch.wrapping_add(1);
            *smf = Smf {
                epoch,
                trust: Trust::Reporting,
                ..Smf::new()
            };
        }
        Part { smf, epoch }
    }

    pub(super) fn complete(&mut self, part: Part) {
        if let Some(smf) = self.of(part)
            && smf.trust == Trust::Reporting
        {
            smf.trust = Trust::Live;
        }
    }

    pub(super) fn distrust(&mut self, part: Part) {
        if let Some(smf) = self.of(part)
            && smf.trust != Trust::Gone
        {
            smf.trust = Trust::Lost;
        }
    }

    pub(super) fn set_in_doubt(&mut self, part: Part, in_doubt: bool) {
        if let Some(smf) = self.of(part) {
            smf.in_doubt = in_doubt;
        }
    }

    /// Something that it told is not in the table.
    pub(super) fn set_incomplete(&mut self, part: Part) {
        if let Some(smf) = self.of(part) {
            smf.incomplete = true;
        }
    }

    /// An end of this time is not kept any more.
    pub(super) fn forget_end(&mut self, part: Part, time: i64) {
        if let Some(smf) = self.of(part) {
            smf.forgotten = smf.forgotten.max(Some(time));
        }
    }

    /// Whether a session that is not known may have ended since this time.
    pub(super) fn may_have_ended_since(&self, part: Part, time: i64) -> bool {
        self.at(part)
            .is_some_and(|smf| smf.forgotten.is_some_and(|forgotten| time <= forgotten))
    }

    /// Whether what is told there is entered.
    pub(super) fn hears(&self, part: Part) -> bool {
        self.at(part).is_some_and(Smf::is_heard)
    }

    pub(super) fn is_reporting(&self, part: Part) -> bool {
        self.at(part)
            .is_some_and(|smf| smf.trust == Trust::Reporting)
    }

    /// Whether a session may be answered with.
    pub(super) fn vouch_for(&self, session: &Session) -> bool {
        self.at(session.part()).is_some_and(Smf::counts)
    }

    /// Whether all sessions are known, so that what is not there is nowhere.
    pub(super) fn are_complete(&self) -> bool {
        let mut expected = self
            .all
            .iter()
            .filter(|smf| smf.trust != Trust::Gone)
            .peekable();
        expected.peek().is_some() && expected.all(|smf| smf.counts() && !smf.incomplete)
    }

    /// How many count, and how many do not, or not yet.
    pub(super) fn trusted_and_distrusted(&self) -> (usize, usize) {
        let trusted = self.all.iter().filter(|smf| smf.counts()).count();
        let gone = self.all.iter().filter(|smf| smf.trust == Trust::Gone);
        (trusted, self.all.len() - trusted - gone.count())
    }

    /// The SMF, while this is the subscription that counts.
    fn at(&self, part: Part) -> Option<&Smf> {
        let smf = self.all.get(usize::from(part.smf.0))?;
        (smf.epoch == part.epoch).then_some(smf)
    }

    fn of(&mut self, part: Part) -> Option<&mut Smf> {
        let smf = self.all.get_mut(usize::from(part.smf.0))?;
        (smf.epoch == part.epoch).then_some(smf)
    }
}

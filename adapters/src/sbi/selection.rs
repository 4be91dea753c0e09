//! Which of the instances that can be asked is asked: by locality and priority, then by capacity and
//! load (TS 29.510 6.1.6.2.2), the ones that do badly last.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::endpoint::Shared;
use super::outlier::Standing;
use super::overload::Reduction;
use super::pool::{Member, Pool, Wish};

/// What became of one request at the instances that it was sent to in vain. Allocates nothing while
/// it is empty.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Answered 503: never asked again for this request.
    refused: Vec<usize>,
    /// Did not answer: others are preferred.
    lost: Vec<usize>,
    /// The lot that decides whether it is withheld from an overloaded instance, drawn once.
    lot: Option<u8>,
    /// Tells a second request beside this one whom it is at.
    told: Option<Arc<AtomicUsize>>,
}

impl History {
    /// A history that tells whom the request is at.
    pub(super) fn telling(told: &Arc<AtomicUsize>) -> Self {
        Self {
            told: Some(Arc::clone(told)),
            ..Self::default()
        }
    }

    /// The request is about to be sent to this one.
    pub(super) fn at(&self, number: usize) {
        if let Some(told) = &self.told {
            told.store(number, Relaxed);
        }
    }

    pub(super) fn refuse(&mut self, number: usize) {
        self.refused.push(number);
    }

    pub(super) fn lose(&mut self, number: usize) {
        self.lost.push(number);
    }

    pub(super) fn is_refused(&self, number: usize) -> bool {
        self.refused.contains(&number)
    }

    fn is_first(&self) -> bool {
        self.refused.is_empty() && self.lost.is_empty()
    }

    fn lot(&mut self) -> u8 {
        *self.lot.get_or_insert_with(|| fastrand::u8(..100))
    }
}

/// What came of choosing.
#[derive(Debug)]
pub(super) enum Choice {
    /// This one, and whether the request tries if it is well again.
    Ask(Arc<Member>, bool),
    /// Those that could be asked want fewer requests, and this is one of them.
    Withheld(Reduction),
    /// None can be asked now.
    None,
}

/// The lower the better, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    has_lost_it: bool,
    is_not_preferred: bool,
    standing: Standing,
    is_elsewhere: bool,
    priority: u16,
}

/// Successive multiples of the golden ratio, modulo one, are spread as evenly as can be, however
/// the interval is divided among the instances.
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// So many more requests may be under way at an instance than at another before it counts as slow.
const SLACK: u64 = 4;

/// The instances among which one request is distributed; of more, the next request sees others.
const MOST_CANDIDATES: usize = 16;

/// The best instances that were found, without a place on the heap.
struct Candidates<'a> {
    members: [Option<&'a Arc<Member>>; MOST_CANDIDATES],
    count: usize,
    rank: Option<Rank>,
}

impl<'a> Candidates<'a> {
    fn new() -> Self {
        Self {
            members: [None; MOST_CANDIDATES],
            count: 0,
            rank: None,
        }
    }

    fn consider(&mut self, member: &'a Arc<Member>, rank: Rank) {
        match self.rank.map(|best| rank.cmp(&best)) {
            Some(Ordering::Greater) => return,
            Some(Ordering::Equal) => {}
            Some(Ordering::Less) | None => {
                self.rank = Some(rank);
                self.count = 0;
            }
        }
        if let Some(place) = self.members.get_mut(self.count) {
            *place = Some(member);
            self.count += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = &'a Arc<Member>> {
        self.members.iter().take(self.count).flatten().copied()
    }

    /// The one whose share of the interval holds `point`.
    fn at(&self, point: u64) -> Option<&'a Arc<Member>> {
        let total: u64 = self.iter().map(|member| member.weight()).sum();
        let scaled = (u128::from(point) * u128::from(total)) >> u64::BITS;
        let mut left = u64::try_from(scaled).unwrap_or(0);
        self.iter().find(|member| {
            let here = left < member.weight();
            left = left.saturating_sub(member.weight());
            here
        })
    }
}

impl Pool {
    /// Chooses the instance to ask.
    pub(super) fn choose(&self, wish: &Wish<'_>, history: &mut History, shared: &Shared) -> Choice {
        let fit = self.best_fit(wish);
        // The usual case has nothing to choose.
        let turn = match &*self.members {
            [] | [_] => 0,
            _ => shared.turn.fetch_add(1, Relaxed),
        };
        let (ahead, behind) = self.rotated(turn);
        let mut candidates = Candidates::new();
        let mut withheld = None;
        for member in ahead.iter().chain(behind) {
            let endpoint = &member.endpoint;
            if !endpoint.is_ready() || !member.may_answer(wish, fit, history) {
                continue;
            }
            if let Some(reduction) = endpoint.reduction(shared)
                && history.lot() < reduction.percent
            {
                withheld = Some(reduction);
                continue;
            }
            if wish.may_probe && history.is_first() && endpoint.try_probe(shared) {
                return Choice::Ask(Arc::clone(member), true);
            }
            candidates.consider(member, member.rank(wish, history, shared));
        }
        let point = turn.wrapping_mul(GOLDEN_RATIO);
        match (candidates.count, candidates.at(point)) {
            (_, None) => withheld.map_or(Choice::None, Choice::Withheld),
            (1, Some(only)) => Choice::Ask(Arc::clone(only), false),
            (_, Some(first)) => {
                let other = candidates.at(point.wrapping_add(1 << 63));
                let faster = other.filter(|other| first.is_slower_than(other));
                Choice::Ask(Arc::clone(faster.unwrap_or(first)), false)
            }
        }
    }

    /// The instances, from another one on each time where they are too many for one choice.
    fn rotated(&self, turn: u64) -> (&[Arc<Member>], &[Arc<Member>]) {
        let count = self.members.len();
        let begin = if count > MOST_CANDIDATES {
            usize::try_from(turn).unwrap_or(0).checked_rem(count)
        } else {
            None
        };
        let (behind, ahead) = self.members.split_at(begin.unwrap_or(0).min(count));
        (ahead, behind)
    }
}

impl Member {
    fn rank(&self, wish: &Wish<'_>, history: &History, shared: &Shared) -> Rank {
        Rank {
            has_lost_it: history.lost.contains(&self.endpoint.number()),
            is_not_preferred: wish
                .preferred
                .is_some_and(|root| *root != self.instance.root),
            standing: self.endpoint.standing(shared),
            is_elsewhere: self.instance.is_elsewhere,
            priority: self.instance.priority,
        }
    }

    /// The share of requests that it gets: what is left of its capacity.
    fn weight(&self) -> u64 {
        let load = self.endpoint.load().unwrap_or(self.instance.load).min(100);
        (u64::from(self.instance.capacity) * u64::from(100 - load)).max(1)
    }

    /// Whether requests pile up here and not there, for what each is to get.
    fn is_slower_than(&self, other: &Self) -> bool {
        let here = self.endpoint.in_flight().saturating_mul(other.weight());
        let there = 2 * other.endpoint.in_flight() + SLACK;
        here > there.saturating_mul(self.weight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbi::Instance;
    use crate::sbi::endpoint::Endpoint;

    fn member(port: u16, priority: u16, capacity: u16, load: u8) -> Arc<Member> {
        let root: crate::sbi::ApiRoot = format!("http://127.0.0.1:{port}").parse().unwrap();
        let endpoint = Arc::new(Endpoint::proxied(root.clone()));
        Arc::new(Member {
            instance: Instance {
                priority,
                capacity,
                load,
                ..root.into()
            },
            endpoint,
        })
    }

    /// How often each of these is at the place of one of `turns` points.
    fn shares(members: &[Arc<Member>], turns: u64) -> Vec<usize> {
        let mut candidates = Candidates::new();
        for member in members {
            let rank = Rank {
                has_lost_it: false,
                is_not_preferred: false,
                standing: Standing::Good,
                is_elsewhere: member.instance.is_elsewhere,
                priority: member.instance.priority,
            };
            candidates.consider(member, rank);
        }
        let chosen: Vec<_> = (0..turns)
            .map(|turn| candidates.at(turn.wrapping_mul(GOLDEN_RATIO)).unwrap())
            .collect();
        let count = |member| chosen.iter().filter(|one| Arc::ptr_eq(one, member)).count();
        members.iter().map(count).collect()
    }

    #[test]
    fn the_lowest_priority_takes_all() {
        let members = [
            member(1, 2, 100, 0),
            member(2, 1, 100, 0),
            member(3, 1, 100, 0),
        ];
        let shares = shares(&members, 1000);
        assert_eq!(shares[0], 0);
        assert!(shares[1].abs_diff(500) < 5, "{shares:?}");
    }

    #[test]
    fn capacity_and_load_divide_the_requests() {
        let members = [
            member(1, 0, 100, 0),
            member(2, 0, 300, 0),
            member(3, 0, 200, 50),
        ];
        let shares = shares(&members, 1000);
        for (share, expected) in shares.iter().zip([200, 600, 200_usize]) {
            assert!(share.abs_diff(expected) < 10, "{shares:?}");
        }
    }

    #[test]
    fn equal_ones_take_turns_at_any_time() {
        let members = [member(1, 0, 1, 0), member(2, 0, 1, 0)];
        for turns in 2..50 {
            let shares = shares(&members, turns);
            assert!(shares[0].abs_diff(shares[1]) <= 2, "{shares:?}");
        }
    }

    #[test]
    fn one_without_capacity_is_still_one() {
        assert_eq!(shares(&[member(1, 0, 0, 100)], 3), [3]);
    }
}

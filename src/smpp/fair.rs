//! Whose turn it is: weighted fair sharing by virtual time.
//!
//! Each member's clock moves on by cost divided by weight when it is served, and the one whose clock is furthest
//! behind is next. Who becomes ready after being idle, or joins, starts at the present of those who are being served:
//! idle time earns nothing, and nobody waits for a newcomer to catch up.
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Virtual time; a unit of cost at weight 1 moves a clock by this much.
const UNIT: u128 = 1 << 40;

/// Members that share something by weight.
#[derive(Debug, Clone)]
pub struct Fair<K> {
    members: HashMap<K, Member>,
    ready: BTreeSet<(u128, K)>,
    present: u128,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    weight: u32,
    clock: u128,
    ready: bool,
}

impl<K> Default for Fair<K> {
    fn default() -> Self {
        Self { members: HashMap::new(), ready: BTreeSet::new(), present: 0 }
    }
}

impl<K: Clone + Eq + Hash + Ord> Fair<K> {
    /// Adds a member that has nothing to send yet, or changes the weight of one; a weight of 0 counts as 1.
    pub fn join(&mut self, key: K, weight: u32) {
        let fresh = Member { weight, clock: self.present, ready: false };
        self.members.entry(key).or_insert(fresh).weight = weight.max(1);
    }

    /// Removes a member.
    pub fn leave(&mut self, key: &K) {
        if let Some(member) = self.members.remove(key) {
            self.ready.remove(&(member.clock, key.clone()));
        }
    }

    /// Says whether a member has something to send. Unknown members are ignored.
    pub fn set_ready(&mut self, key: &K, ready: bool) {
        let Some(member) = self.members.get_mut(key) else { return };
        if member.ready == ready {
            return;
        }
        member.ready = ready;
        if ready {
            member.clock = member.clock.max(self.present);
            self.ready.insert((member.clock, key.clone()));
        } else {
            self.ready.remove(&(member.clock, key.clone()));
        }
    }

    /// Whose turn it is among those who are ready.
    #[must_use]
    pub fn next(&self) -> Option<&K> {
        self.ready.first().map(|(_, key)| key)
    }

    /// Notes that a member was served `cost` units.
    pub fn charge(&mut self, key: &K, cost: u32) {
        let Some(member) = self.members.get_mut(key) else { return };
        if member.ready {
            self.ready.remove(&(member.clock, key.clone()));
            self.present = self.present.max(member.clock);
        }
        member.clock += UNIT * u128::from(cost) / u128::from(member.weight);
        if member.ready {
            self.ready.insert((member.clock, key.clone()));
        }
    }

    /// Chooses whose turn it is and charges it one unit.
    pub fn choose(&mut self) -> Option<K> {
        let key = self.next()?.clone();
        self.charge(&key, 1);
        Some(key)
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ready(members: &[(char, u32)]) -> Fair<char> {
        let mut fair = Fair::default();
        for (key, weight) in members {
            fair.join(*key, *weight);
            fair.set_ready(key, true);
        }
        fair
    }

    fn turns(fair: &mut Fair<char>, count: usize) -> HashMap<char, usize> {
        let mut turns = HashMap::new();
        for key in (0..count).filter_map(|_| fair.choose()) {
            *turns.entry(key).or_default() += 1;
        }
        turns
    }

    #[test]
    fn each_gets_its_weight_and_a_third_that_joins_gets_its_own() {
        let mut fair = ready(&[('a', 1), ('b', 3)]);
        assert_eq!(turns(&mut fair, 400), HashMap::from([('a', 100), ('b', 300)]));
        fair.join('c', 4);
        fair.set_ready(&'c', true);
        let shares = turns(&mut fair, 800);
        for (key, share) in [('a', 100), ('b', 300), ('c', 400)] {
            assert!(shares[&key].abs_diff(share) <= 1, "{shares:?}");
        }
    }

    #[test]
    fn one_message_beside_ten_thousand_waits_for_no_more_than_one() {
        let mut fair = ready(&[('a', 1)]);
        turns(&mut fair, 10_000);
        fair.join('b', 1);
        fair.set_ready(&'b', true);
        assert!(turns(&mut fair, 2).contains_key(&'b'));
    }

    #[test]
    fn idle_time_earns_nothing() {
        let mut fair = ready(&[('a', 1), ('b', 1)]);
        fair.set_ready(&'b', false);
        assert_eq!(turns(&mut fair, 1_000), HashMap::from([('a', 1_000)]));
        fair.set_ready(&'b', true);
        let shares = turns(&mut fair, 100);
        assert!(shares[&'a'] >= 49, "{shares:?}");
    }

    #[test]
    fn who_comes_and_goes_does_not_get_more_than_its_share() {
        let mut fair = ready(&[('a', 1), ('b', 1)]);
        let mut served = 0;
        for _ in 0..1_000 {
            let key = fair.choose().expect("two are ready");
            if key == 'b' {
                served += 1;
                fair.set_ready(&'b', false);
                fair.set_ready(&'b', true);
            }
        }
        assert!(served <= 501, "{served}");
    }

    #[test]
    fn nobody_is_chosen_who_is_gone_or_has_nothing() {
        let mut fair = ready(&[('a', 1), ('b', 1)]);
        fair.leave(&'a');
        assert_eq!(turns(&mut fair, 10), HashMap::from([('b', 10)]));
        fair.set_ready(&'b', false);
        assert_eq!(fair.choose(), None);
        fair.set_ready(&'x', true);
        assert_eq!(fair.choose(), None);
        assert_eq!(fair.len(), 1);
    }

    #[test]
    fn a_weight_of_zero_counts_as_one_and_weights_change_live() {
        let mut fair = ready(&[('a', 0), ('b', 1)]);
        assert_eq!(turns(&mut fair, 100), HashMap::from([('a', 50), ('b', 50)]));
        fair.join('a', 3);
        let shares = turns(&mut fair, 400);
        assert!(shares[&'a'].abs_diff(300) <= 2, "{shares:?}");
    }

    proptest! {
        #[test]
        fn over_any_weights_nobody_is_a_turn_off(weights in prop::collection::vec(1_u32..50, 2..20)) {
            let mut fair = Fair::default();
            for (key, weight) in weights.iter().enumerate() {
                fair.join(key, *weight);
                fair.set_ready(&key, true);
            }
            let total: u32 = weights.iter().sum();
            let mut served = vec![0_u32; weights.len()];
            for _ in 0..total {
                served[fair.choose().expect("all are ready")] += 1;
            }
            for (served, weight) in served.iter().zip(&weights) {
                prop_assert!(served.abs_diff(*weight) <= 1, "{served} for {weight}");
            }
        }
    }
}

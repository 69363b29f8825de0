//! Figures over many tenants that say nothing of any one of them (D6).
//!
//! A group is shown when enough tenants are in it. What is not shown by itself is folded into one remainder, and where too few
//! tenants would be in that, the smallest of the groups that could be shown goes with it: else a total, known from elsewhere, less
//! what is shown would give the hidden group away. What is shown never overlaps, so every sum and difference of it is
//! about enough tenants too.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::TenantId;

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Messages.
    pub messages: i64,
    /// Parts of them.
    pub parts: i64,
    /// What they cost, thousandths of an øre.
    pub amount: i64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.parts += other.parts;
        self.amount += other.amount;
    }
}

/// One tenant's part in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<Group> {
    /// Of which group.
    pub group: Group,
    /// Whose.
    pub tenant: TenantId,
    /// How much.
    pub figures: Figures,
}

/// What may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<Group> {
    /// Groups of enough tenants.
    pub groups: BTreeMap<Group, Figures>,
    /// The rest, of enough tenants as well; `None` where there is no rest.
    pub rest: Option<Figures>,
    /// There were too few tenants in all: nothing is shown.
    pub withheld: bool,
}

#[derive(Default)]
struct Sum {
    tenants: BTreeSet<TenantId>,
    figures: Figures,
}

impl Sum {
    fn add(&mut self, tenant: TenantId, figures: Figures) {
        self.tenants.insert(tenant);
        self.figures += figures;
    }

    fn absorb(&mut self, other: Self) {
        self.tenants.extend(other.tenants);
        self.figures += other.figures;
    }
}

/// What may be shown of `parts` when every figure must be of `minimum` tenants or more.
#[must_use]
pub fn show<Group: Ord>(parts: impl IntoIterator<Item = Part<Group>>, minimum: usize) -> Shown<Group> {
    let mut sums: BTreeMap<Group, Sum> = BTreeMap::new();
    for Part { group, tenant, figures } in parts {
        sums.entry(group).or_default().add(tenant, figures);
    }
    let mut sums: Vec<(Group, Sum)> = sums.into_iter().collect();
    // The fewest tenants first; of equals the least used, so that as much as possible is shown.
    sums.sort_by_key(|(_, sum)| (sum.tenants.len(), sum.figures.messages));
    let (mut groups, mut rest) = (BTreeMap::new(), Sum::default());
    for (group, sum) in sums {
        let rest_is_small = !rest.tenants.is_empty() && rest.tenants.len() < minimum;
        if sum.tenants.len() < minimum || rest_is_small {
            rest.absorb(sum);
        } else {
            groups.insert(group, sum.figures);
        }
    }
    let withheld = !rest.tenants.is_empty() && rest.tenants.len() < minimum;
    Shown { groups, rest: (!withheld && !rest.tenants.is_empty()).then_some(rest.figures), withheld }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(group: u8, tenant: i64, messages: i64) -> Part<u8> {
        Part { group, tenant: TenantId(tenant), figures: Figures { messages, parts: messages, amount: 0 } }
    }

    fn shown(parts: &[(u8, i64, i64)], minimum: usize) -> (Vec<(u8, i64)>, Option<i64>, bool) {
        let shown = show(parts.iter().map(|(group, tenant, messages)| part(*group, *tenant, *messages)), minimum);
        let groups = shown.groups.into_iter().map(|(group, figures)| (group, figures.messages)).collect();
        (groups, shown.rest.map(|rest| rest.messages), shown.withheld)
    }

    #[test]
    fn a_group_of_few_is_not_shown_and_takes_the_smallest_other_with_it() {
        let large = [(1, 1, 5), (1, 2, 5), (1, 3, 5)];
        let larger = [(2, 1, 9), (2, 2, 9), (2, 3, 9), (2, 4, 9)];
        let small = [(3, 1, 1), (3, 2, 1)];
        assert_eq!(shown(&[&large[..], &larger].concat(), 3), (vec![(1, 15), (2, 36)], None, false));
        assert_eq!(shown(&[&large[..], &larger, &small].concat(), 3), (vec![(2, 36)], Some(17), false));
        assert_eq!(shown(&small, 3), (vec![], None, true));
        assert_eq!(shown(&[], 3), (vec![], None, false));
    }

    #[test]
    fn small_groups_of_different_tenants_make_a_rest_by_themselves() {
        let parts = [(1, 1, 1), (2, 2, 1), (3, 3, 1), (9, 1, 4), (9, 2, 4), (9, 3, 4)];
        assert_eq!(shown(&parts, 3), (vec![(9, 12)], Some(3), false));
        let of_one = [(1, 1, 1), (2, 1, 1), (3, 1, 1), (9, 1, 4), (9, 2, 4), (9, 3, 4)];
        assert_eq!(shown(&of_one, 3), (vec![], Some(15), false), "one tenant in three groups is still one");
    }

    proptest! {
        /// Whatever is shown, and whatever is hidden beside it, is of enough tenants; and nothing is lost or counted twice.
        #[test]
        fn nothing_that_is_shown_or_can_be_reckoned_from_it_is_of_few(
            parts in prop::collection::vec((0_u8..6, 0_i64..8, 1_i64..100), 0..60), minimum in 1_usize..6,
        ) {
            let tenants = |groups: &dyn Fn(u8) -> bool| -> usize {
                parts.iter().filter(|(group, _, _)| groups(*group)).map(|(_, tenant, _)| tenant).collect::<BTreeSet<_>>().len()
            };
            let total: i64 = parts.iter().map(|(_, _, messages)| messages).sum();
            let (groups, rest, withheld) = shown(&parts, minimum);
            for (group, messages) in &groups {
                prop_assert!(tenants(&|other| other == *group) >= minimum);
                let there: i64 = parts.iter().filter(|(other, _, _)| other == group).map(|(_, _, messages)| messages).sum();
                prop_assert_eq!(there, *messages);
            }
            let hidden = |group: u8| groups.iter().all(|(shown, _)| *shown != group);
            let few_hidden = tenants(&hidden);
            let seen: i64 = groups.iter().map(|(_, messages)| messages).sum::<i64>() + rest.unwrap_or(0);
            if withheld {
                prop_assert!(groups.is_empty() && rest.is_none());
                prop_assert!(few_hidden < minimum);
            } else {
                prop_assert_eq!(seen, total);
                prop_assert!(few_hidden == 0 || few_hidden >= minimum);
                prop_assert_eq!(rest.is_some(), few_hidden > 0);
            }
        }
    }
}

//! What a part costs, by the longest prefix of its recipient's number (B1).
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Msisdn, Parts};

/// An amount in thousandths of an øre: fine enough for any price list, and exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliOre(pub i64);

impl MilliOre {
    /// For so many parts.
    #[must_use]
    pub fn times(self, parts: Parts) -> Self {
        Self(self.0.saturating_mul(parts.get().into()))
    }

    /// In whole units of the currency, with two decimals or as many more as it takes: `0.25`.
    #[must_use]
    pub fn decimal(self) -> String {
        let (sign, all) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let decimals = format!("{:05}", all % 100_000);
        let (two, more) = decimals.split_at(2);
        format!("{sign}{}.{two}{}", all / 100_000, more.trim_end_matches('0'))
    }
}

/// The prices in force for a tenant.
#[derive(Debug, Clone, Default)]
pub struct PriceList {
    by_prefix: HashMap<String, MilliOre>,
    longest: usize,
}

impl FromIterator<(String, MilliOre)> for PriceList {
    fn from_iter<T: IntoIterator<Item = (String, MilliOre)>>(prices: T) -> Self {
        let by_prefix: HashMap<_, _> = prices.into_iter().collect();
        let longest = by_prefix.keys().map(String::len).max().unwrap_or(0);
        Self { by_prefix, longest }
    }
}

impl PriceList {
    /// The price of one part to this number; `None` when the list has none, which is not the same as free.
    #[must_use]
    pub fn of(&self, number: &Msisdn) -> Option<MilliOre> {
        let digits = number.digits().reveal();
        (0..=self.longest.min(digits.len())).rev().find_map(|length| self.by_prefix.get(digits.get(..length)?)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(prices: &[(&str, i64)], number: &str) -> Option<i64> {
        let list: PriceList = prices.iter().map(|(prefix, amount)| ((*prefix).to_owned(), MilliOre(*amount))).collect();
        list.of(&Msisdn::from_digits(number).expect("E.164")).map(|amount| amount.0)
    }

    #[test]
    fn the_longest_prefix_wins() {
        let prices = [("", 90), ("45", 30), ("4520", 20), ("46", 40)];
        assert_eq!(price(&prices, "4520123456"), Some(20));
        assert_eq!(price(&prices, "4521123456"), Some(30));
        assert_eq!(price(&prices, "46701234567"), Some(40));
        assert_eq!(price(&prices, "12015550123"), Some(90));
    }

    #[test]
    fn amounts_are_written_in_whole_units() {
        for (amount, written) in
            [(0, "0.00"), (25_000, "0.25"), (123_456, "1.23456"), (100_100, "1.001"), (-5_000, "-0.05")]
        {
            assert_eq!(MilliOre(amount).decimal(), written);
        }
        let parts = crate::domain::text::parts(&"a".repeat(161), crate::domain::Encoding::Gsm).expect("two");
        assert_eq!(MilliOre(25_000).times(parts).decimal(), "0.50");
    }

    #[test]
    fn what_is_not_listed_has_no_price() {
        assert_eq!(price(&[("45", 0)], "4520123456"), Some(0));
        assert_eq!(price(&[("45", 0)], "46701234567"), None);
        assert_eq!(price(&[], "46701234567"), None);
    }
}

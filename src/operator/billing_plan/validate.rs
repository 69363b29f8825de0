//! What a plan must be beyond its schema, and which of its dated prices hold.
use jiff::civil::Date;

use crate::crd::BillingPlanSpec;
use crate::crd::billingplan::Prices;
use crate::domain::MilliOre;

/// What must be written instead, where a plan says nothing about today.
pub(in crate::operator) fn validate(spec: &BillingPlanSpec, today: Date) -> Result<(), String> {
    if in_force(spec, today).is_none() {
        return Err(format!("no price list holds today: write one in `prices` with a `from` of {today} or before"));
    }
    if !spec.terms.iter().any(|terms| terms.from.0 <= today) {
        return Err(format!("no terms hold today: write a version in `terms` with a `from` of {today} or before"));
    }
    prices(spec, today).map(|_| ())
}

/// The price list that holds on a day: the newest that has begun (A7, A8).
pub(super) fn in_force(spec: &BillingPlanSpec, day: Date) -> Option<&Prices> {
    spec.prices.iter().filter(|prices| prices.from.0 <= day).max_by_key(|prices| prices.from)
}

/// What a part costs on a day, by prefix.
pub(in crate::operator) fn prices(spec: &BillingPlanSpec, day: Date) -> Result<Vec<(String, MilliOre)>, String> {
    let list = in_force(spec, day).map(|prices| prices.sms.as_slice()).unwrap_or_default();
    list.iter()
        .map(|price| match milli_ore(&price.price) {
            Some(amount) => Ok((price.prefix.0.clone(), amount)),
            None => Err(format!("{} is no price: write it as in \"0.295\"", price.price)),
        })
        .collect()
}

/// Kroner with at most four decimals: `0.295` is 29.5 øre.
pub(in crate::operator) fn milli_ore(kroner: &str) -> Option<MilliOre> {
    let (whole, decimals) = kroner.split_once('.').unwrap_or((kroner, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 4 || !digits(whole) || !digits(decimals) {
        return None;
    }
    // A krone is 100 øre, and 100,000 thousandths of one.
    let decimals: i64 = format!("{decimals:0<5}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(100_000)?.checked_add(decimals).map(MilliOre)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

    use super::*;

    fn plan(prices: &serde_json::Value) -> BillingPlanSpec {
        serde_json::from_value(json!({
            "seller": {
                "name": "Vert ApS", "address": {"lines": ["Vej 1"], "postcode": "8000", "city": "Aarhus", "country": "DK"},
                "cvr": "25313763", "email": "faktura@example.dk", "bankAccount": {"registration": "1234", "number": "1234567"},
            },
            "brands": [{"name": "sms", "displayName": "SMS", "domain": "sms.example.dk", "senderAddress": "sms@example.dk",
                        "services": ["api"]}],
            "terms": [{"version": "2026-1", "from": "2026-01-01", "page": "https://example.dk/terms"}],
            "currency": "DKK", "prices": prices, "vat": {"percent": "25"}, "payment": {"days": 8},
        }))
        .expect("a plan")
    }

    fn two_lists() -> BillingPlanSpec {
        plan(&json!([
            {"from": "2026-01-01", "monthlyFee": "99", "sms": [{"prefix": "45", "price": "0.295"}]},
            {"from": "2026-06-01", "announcedOn": "2026-04-01", "monthlyFee": "99", "sms": [{"prefix": "45", "price": "0.3"}]},
        ]))
    }

    #[test]
    fn a_price_list_holds_from_its_day_to_the_next_ones() {
        let price = |day| prices(&two_lists(), day).expect("prices")[0].1;
        assert_eq!(price(date(2026, 5, 31)), MilliOre(29_500));
        assert_eq!(price(date(2026, 6, 1)), MilliOre(30_000));
    }

    #[test]
    fn a_plan_that_has_not_begun_says_what_to_write() {
        let message = validate(&two_lists(), date(2025, 12, 31)).expect_err("too early");
        assert!(message.contains("a `from` of 2025-12-31 or before"), "{message}");
        assert_eq!(validate(&two_lists(), date(2026, 1, 1)), Ok(()));
    }

    #[test]
    fn kroner_become_thousandths_of_an_ore() {
        for (text, amount) in [("0", 0), ("1", 100_000), ("0.295", 29_500), ("0.0001", 10), ("12.5", 1_250_000)] {
            assert_eq!(milli_ore(text), Some(MilliOre(amount)), "{text}");
        }
        for text in ["", ".5", "0.00001", "-1", "1,5", "1.2.3"] {
            assert_eq!(milli_ore(text), None, "{text}");
        }
    }
}

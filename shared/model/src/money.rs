//! Amounts of money, exact to a billionth.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;
use std::time::Duration;

use crate::Expected;
use serde::{Serialize, Serializer};

/// Billionths in one.
const ONE: u64 = 1_000_000_000;
/// Billionths in a hundredth.
const CENT: u64 = ONE / 100;

/// An amount of money, in the currency that the provider charges in: whole billionths, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

impl Money {
    /// The most that a machine may cost an hour.
    pub const MOST: Self = Self(1_000_000 * ONE);

    /// This many billionths.
    pub const fn from_billionths(billionths: u64) -> Self {
        Self(billionths)
    }

    /// The amount in billionths.
    pub const fn billionths(self) -> u64 {
        self.0
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// What a price an hour comes to over a span, to the nearest billionth.
    #[must_use]
    pub fn over(self, span: Duration) -> Self {
        const HOUR: u128 = 3_600_000;
        let whole = u128::from(self.0) * span.as_millis();
        Self(u64::try_from((whole + HOUR / 2) / HOUR).unwrap_or(u64::MAX))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.fold(0, |sum, amount| sum.saturating_add(amount.0)))
    }
}

/// To the nearest hundredth, halves upwards.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.0 / CENT + u64::from(self.0 % CENT >= CENT / 2);
        f.pad(&format!("{}.{:02}", cents / 100, cents % 100))
    }
}

/// A number with two decimals, as text: so no reader makes a binary fraction of it.
impl Serialize for Money {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A decimal number such as `0.74`. What is beyond the ninth decimal is rounded: binary fractions are printed with such tails.
impl FromStr for Money {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let expected = || Expected::text("a price an hour from 0 to 1000000, such as 0.74", text);
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 7 {
            return Err(expected());
        }
        let whole: u64 = whole.parse().map_err(|_| expected())?;
        let mut billionths = 0;
        for place in 0..9 {
            billionths =
                billionths * 10 + decimals.as_bytes().get(place).map_or(0, |digit| u64::from(digit - b'0'));
        }
        billionths += u64::from(decimals.as_bytes().get(9).is_some_and(|digit| *digit >= b'5'));
        Some(Self(whole * ONE + billionths)).filter(|money| *money <= Self::MOST).ok_or_else(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_as_it_is_written() {
        for (text, billionths, shown) in [
            ("0.74", 740_000_000, "0.74"),
            ("0", 0, "0.00"),
            ("12", 12_000_000_000, "12.00"),
            ("0.7400000000000001", 740_000_000, "0.74"),
            ("0.7399999999999999", 740_000_000, "0.74"),
            ("0.005", 5_000_000, "0.01"),
            ("0.004999999", 4_999_999, "0.00"),
            ("1000000", 1_000_000_000_000_000, "1000000.00"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!((money.billionths(), money.to_string().as_str()), (billionths, shown), "{text}");
        }
        for bad in ["", ".5", "1.", "-1", "1e3", "1,5", "NaN", "1000000.01", "99999999", "$1"] {
            assert!(bad.parse::<Money>().is_err(), "{bad}");
        }
    }

    #[test]
    fn costs_are_exact() {
        let price: Money = "0.74".parse().unwrap();
        assert_eq!(price.times(24).to_string(), "17.76");
        assert_eq!(price.times(24 * 30).to_string(), "532.80");
        assert_eq!(price.over(Duration::from_secs(5_400)).to_string(), "1.11");
        // A third of an hour has no end in decimals: what is lost is less than a billionth a machine.
        let third = price.over(Duration::from_secs(1_200));
        assert_eq!(third.billionths(), 246_666_667);
        assert_eq!([third; 3].into_iter().sum::<Money>().to_string(), "0.74");
        assert_eq!(Money::MOST.over(Duration::from_secs(u64::MAX)).billionths(), u64::MAX);
    }
}

//! Lets tests make the models of a process slow, so that they reach a mesh's capacity without using up a machine.

use std::time::Duration;

/// The variable that says by how much every row takes longer, in microseconds: `2000` for all models, `NAME=2000` for one.
const TEST_ROW_DELAY: &str = "FOREBAY_TEST_ROW_DELAY_US";

/// The time by which every row of a model is delayed: none unless a test asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlowedForTest(Duration);

impl SlowedForTest {
    /// As the environment of the process says.
    pub(crate) fn of_model(model: &str) -> Self {
        let given = std::env::var_os(TEST_ROW_DELAY);
        let slowed = given.and_then(|text| Self::parse(text.to_str()?, model)).unwrap_or_default();
        if !slowed.0.is_zero() {
            tracing::warn!(model, row_delay = ?slowed.0, "every row of the model takes longer on purpose");
        }
        slowed
    }

    fn parse(text: &str, model: &str) -> Option<Self> {
        let (name, us) = text.split_once('=').unwrap_or((model, text));
        (name == model).then(|| us.parse().ok().map(Duration::from_micros))?.map(Self)
    }

    /// Blocks as long as a slow model computes for this many rows.
    pub(crate) fn sleep(self, rows: usize) {
        if !self.0.is_zero() {
            std::thread::sleep(self.0 * u32::try_from(rows).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_that_is_named_is_slow_or_every_one() {
        assert_eq!(SlowedForTest::parse("2000", "any"), Some(SlowedForTest(Duration::from_millis(2))));
        assert_eq!(SlowedForTest::parse("slow=2000", "slow"), Some(SlowedForTest(Duration::from_millis(2))));
        assert_eq!(SlowedForTest::parse("slow=2000", "fast"), None);
        assert_eq!(SlowedForTest::parse("slow=soon", "slow"), None);
        assert_eq!(SlowedForTest::of_model("slow"), SlowedForTest::default());
    }
}

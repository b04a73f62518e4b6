//! How good predictions are.

use serde::Serialize;

use crate::target_values::TargetValues;

/// Scores on held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum FoldScores {
    /// `r2` is 1 at best and 0 for always the mean; `rmse` and `mae` are in the target's unit.
    Numbers { r2: f64, rmse: f64, mae: f64 },
    /// `log_loss` in nats, 0 at best.
    Classes { accuracy: f64, log_loss: f64 },
}

impl FoldScores {
    /// Scores of `predicted` (a number, or a probability per class) for `rows`, in the same order.
    pub(crate) fn of(target: &TargetValues, rows: &[usize], predicted: &[Vec<f64>]) -> Self {
        let n = rows.len() as f64;
        match target {
            TargetValues::Numbers(numbers) => {
                let truth: Vec<f64> = rows.iter().map(|r| numbers[*r]).collect();
                let mean = truth.iter().sum::<f64>() / n;
                let errors: Vec<f64> = truth.iter().zip(predicted).map(|(y, p)| p[0] - y).collect();
                let squares: f64 = errors.iter().map(|e| e * e).sum();
                let spread: f64 = truth.iter().map(|y| (y - mean).powi(2)).sum();
                // as scikit-learn: no spread to explain is 0, unless there is no error either
                let r2 = match (spread > 0.0, squares > 0.0) {
                    (true, _) => 1.0 - squares / spread,
                    (false, true) => 0.0,
                    (false, false) => 1.0,
                };
                Self::Numbers { r2, rmse: (squares / n).sqrt(), mae: errors.iter().map(|e| e.abs()).sum::<f64>() / n }
            }
            TargetValues::Classes { of, .. } => {
                let cases = || rows.iter().map(|r| of[*r]).zip(predicted);
                let right = |(class, p): &(usize, &Vec<f64>)| {
                    (0..p.len()).fold(0, |best, i| if p[i] > p[best] { i } else { best }) == *class
                };
                let log_loss = cases().map(|(class, p)| -p[class].clamp(1e-15, 1.0).ln()).sum::<f64>() / n;
                Self::Classes { accuracy: cases().filter(right).count() as f64 / n, log_loss }
            }
        }
    }

    /// Names of the scores, in the order of [`values`](Self::values).
    pub(crate) fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Numbers { .. } => &["R2", "RMSE", "MAE"],
            Self::Classes { .. } => &["accuracy", "log loss"],
        }
    }

    /// The scores.
    pub(crate) fn values(&self) -> Vec<f64> {
        match self {
            Self::Numbers { r2, rmse, mae } => vec![*r2, *rmse, *mae],
            Self::Classes { accuracy, log_loss } => vec![*accuracy, *log_loss],
        }
    }

    /// One number to compare by, larger is better.
    pub(crate) fn merit(&self) -> f64 {
        match self {
            Self::Numbers { r2, .. } => *r2,
            Self::Classes { log_loss, .. } => -*log_loss,
        }
    }

    /// The first score, for people.
    pub(crate) fn main(&self) -> String {
        format!("{} {:.3}", self.names()[0], self.values()[0])
    }
}

/// Mean and standard deviation of the population.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let target = TargetValues::Numbers(vec![1.0, 9.0, 3.0, 5.0]);
        let s = FoldScores::of(&target, &[0, 2, 3], &[vec![1.0], vec![5.0], vec![5.0]]);
        let FoldScores::Numbers { r2, rmse, mae } = s else { panic!("{s:?}") };
        assert!(
            (r2 - 0.5).abs() < 1e-12 && (rmse - (4.0f64 / 3.0).sqrt()).abs() < 1e-12 && (mae - 2.0 / 3.0).abs() < 1e-12
        );
        assert_eq!(
            FoldScores::of(&TargetValues::Numbers(vec![2.0, 2.0]), &[0, 1], &[vec![2.0], vec![3.0]]).values()[0],
            0.0
        );
        let target = TargetValues::Classes { labels: vec!["a".into(), "b".into()], of: vec![0, 1] };
        let s = FoldScores::of(&target, &[0, 1], &[vec![0.5, 0.5], vec![0.75, 0.25]]);
        assert_eq!(s, FoldScores::Classes { accuracy: 0.5, log_loss: (2f64.ln() + 4f64.ln()) / 2.0 });
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), (2.0, 1.0));
    }
}

//! The table at the end.

use std::fmt::Write as _;

use crate::dataset::Dataset;
use crate::evaluation::Evaluation;
use crate::linear::ALPHA;
use crate::scores::{FoldScores, mean_and_deviation};
use crate::target_values::TargetValues;
use crate::training_arguments::{ModelChoice, TrainingArguments};

/// Mean and spread over the folds, a row per contender.
pub(crate) fn table(
    evaluation: &Evaluation,
    table: &Dataset,
    target: &TargetValues,
    arguments: &TrainingArguments,
    kept: ModelChoice,
) -> String {
    let hidden: Vec<String> = arguments.fitting.hidden.iter().map(u16::to_string).collect();
    let linear = if target.labels().is_empty() { "ridge" } else { "logistic" };
    let contenders = [
        (format!("MLP {}", hidden.join("-")), &evaluation.mlp, Some(ModelChoice::Mlp)),
        (format!("{linear} (alpha {ALPHA})"), &evaluation.ridge, Some(ModelChoice::Ridge)),
        ("mean".to_owned(), &evaluation.mean, None),
    ];
    let what =
        if target.labels().is_empty() { "numbers".to_owned() } else { format!("{} classes", target.labels().len()) };
    let mut text = format!(
        "{}-fold evaluation of {} rows with {} columns, target {:?} ({what})\n\n",
        arguments.fitting.folds,
        table.rows(),
        table.features.len(),
        table.target.name
    );
    let names = evaluation.mean.first().map_or(&[][..], FoldScores::names);
    let _ = write!(text, "{:20}", "");
    for name in names {
        let _ = write!(text, "{name:>20}");
    }
    text.push('\n');
    for (name, scores, choice) in contenders {
        let _ = write!(text, "{name:20}");
        for i in 0..names.len() {
            let values: Vec<f64> = scores.iter().map(|s| s.values()[i]).collect();
            let (mean, deviation) = mean_and_deviation(&values);
            let _ = write!(text, "{:>20}", format!("{} ± {}", short(mean), short(deviation)));
        }
        text.push_str(if choice == Some(kept) { "   <- kept\n" } else { "\n" });
    }
    text
}

/// Three digits behind the point for small numbers, fewer for large ones.
fn short(v: f64) -> String {
    match v.abs() {
        a if a >= 1e6 => format!("{v:.3e}"),
        a if a >= 1000.0 => format!("{v:.0}"),
        a if a >= 10.0 => format!("{v:.2}"),
        a if a > 0.0 && a < 1e-3 => format!("{v:.2e}"),
        _ => format!("{v:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_readable() {
        let texts = [0.4931, 54.638, 12345.6, 3.2e7, 0.0, 0.00012, -0.25].map(short);
        assert_eq!(texts, ["0.493", "54.64", "12346", "3.200e7", "0.000", "1.20e-4", "-0.250"]);
    }
}

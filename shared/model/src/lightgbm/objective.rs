//! The links of LightGBM's objectives.

/// What an objective does to sums of leaves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Objective {
    name: String,
    link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Link {
    Identity,
    /// The square of what was trained on the root, with its sign.
    Square,
    Exp,
    /// A sigmoid of each output, which is multiplied by this first.
    Sigmoid(f64),
    Softmax,
    Log1pExp,
    /// No objective is in the file: it was the user's own.
    Custom,
}

impl Objective {
    /// Reads the value of the line `objective`, `name option:value ..`.
    pub(super) fn read(line: Option<&str>) -> Result<Self, String> {
        let mut words = line.unwrap_or("custom").split_ascii_whitespace();
        let name = words.next().unwrap_or("custom");
        let options: Vec<&str> = words.collect();
        let sigmoid = || {
            let text = options.iter().find_map(|o| o.strip_prefix("sigmoid:")).unwrap_or("1");
            let factor = text.parse::<f64>().ok().filter(|f| f.is_finite() && *f > 0.0);
            factor.map(Link::Sigmoid).ok_or_else(|| format!("sigmoid is {text:?}"))
        };
        let link =
            match name {
                "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => {
                    if options.contains(&"sqrt") { Link::Square } else { Link::Identity }
                }
                "lambdarank" | "rank_xendcg" => Link::Identity,
                "poisson" | "gamma" | "tweedie" => Link::Exp,
                "binary" | "multiclassova" => sigmoid()?,
                "cross_entropy" => Link::Sigmoid(1.0),
                "cross_entropy_lambda" => Link::Log1pExp,
                "multiclass" => Link::Softmax,
                "custom" => Link::Custom,
                _ => return Err(format!("{name:?} is not supported")),
            };
        Ok(Self { name: name.to_owned(), link })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether predictions are the sums themselves because the objective is not in the file.
    pub(super) fn is_custom(&self) -> bool {
        self.link == Link::Custom
    }

    /// Turns sums into predictions; row-major `len x groups`.
    pub(super) fn apply(&self, sums: &mut [f64], groups: usize) {
        match self.link {
            Link::Identity | Link::Custom => {}
            Link::Square => sums.iter_mut().for_each(|v| *v *= v.abs()),
            Link::Exp => sums.iter_mut().for_each(|v| *v = v.exp()),
            Link::Sigmoid(factor) => sums.iter_mut().for_each(|v| *v = 1.0 / (1.0 + (-factor * *v).exp())),
            Link::Log1pExp => sums.iter_mut().for_each(|v| *v = v.exp().ln_1p()),
            Link::Softmax => sums.chunks_exact_mut(groups).for_each(softmax),
        }
    }
}

fn softmax(row: &mut [f64]) {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|v| *v = (*v - highest).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|v| *v /= sum);
}

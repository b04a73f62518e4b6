//! Products of features: PolynomialFeatures.

use crate::matrix::Matrix;

/// Largest number of terms.
const MAX_TERMS: usize = 100_000;

/// Each term is the constant one, a feature, or an earlier term times a feature.
#[derive(Debug, Clone)]
pub struct Polynomial {
    terms: Vec<Term>,
    /// The first terms are only needed to compute others and are not part of the result.
    hidden: usize,
}

#[derive(Debug, Clone, Copy)]
enum Term {
    One,
    Feature(usize),
    Product { term: usize, feature: usize },
}

impl Polynomial {
    /// All products of `min..=max` features in scikit-learn's order, with distinct features only on request.
    ///
    /// # Errors
    /// An error for more terms than are accepted.
    pub fn new(width: usize, min: usize, max: usize, distinct: bool, bias: bool) -> Result<Self, String> {
        // terms by their features, degree by degree; a term's product is its tail's times its first feature
        let mut all: Vec<(Vec<usize>, Term)> = Vec::new();
        let mut previous: Vec<usize> = Vec::new();
        for degree in 1..=max {
            let mut level = Vec::new();
            let seeds: Vec<Option<usize>> =
                if degree == 1 { vec![None] } else { previous.iter().copied().map(Some).collect() };
            for feature in 0..width {
                for &tail in &seeds {
                    let allowed = tail.is_none_or(|t| {
                        let first = all[t].0[0];
                        if distinct { first > feature } else { first >= feature }
                    });
                    if !allowed {
                        continue;
                    }
                    if all.len() >= MAX_TERMS {
                        return Err(format!("more than {MAX_TERMS} terms"));
                    }
                    let term = tail.map_or(Term::Feature(feature), |term| Term::Product { term, feature });
                    let mut features = vec![feature];
                    features.extend(tail.iter().flat_map(|t| all[*t].0.iter().copied()));
                    level.push(all.len());
                    all.push((features, term));
                }
            }
            previous = level;
        }
        let hidden = all.iter().filter(|(features, _)| features.len() < min).count();
        let mut terms: Vec<Term> = all.into_iter().map(|(_, term)| term).collect();
        if bias {
            // the constant is inserted before the first visible term; later terms move by one
            for term in &mut terms {
                if let Term::Product { term, .. } = term
                    && *term >= hidden
                {
                    *term += 1;
                }
            }
            terms.insert(hidden, Term::One);
        }
        if terms.len() == hidden {
            return Err("has no terms".to_owned());
        }
        Ok(Self { terms, hidden })
    }

    pub(super) fn width(&self) -> usize {
        self.terms.len() - self.hidden
    }

    pub(super) fn apply(&self, m: &mut Matrix) {
        let mut values = vec![0.0; self.terms.len()];
        m.rebuild(self.width(), |row, out| {
            for (i, term) in self.terms.iter().enumerate() {
                values[i] = match *term {
                    Term::One => 1.0,
                    Term::Feature(f) => row[f],
                    Term::Product { term, feature } => values[term] * row[feature],
                };
            }
            out.extend_from_slice(&values[self.hidden..]);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(p: &Polynomial, row: &[f64]) -> Vec<f64> {
        let mut m = Matrix { width: row.len(), data: row.to_vec() };
        p.apply(&mut m);
        m.data
    }

    #[test]
    fn orders_of_scikit_learn() {
        let row = [2.0, 3.0, 5.0];
        let p = Polynomial::new(3, 0, 2, false, true).unwrap();
        assert_eq!(terms(&p, &row), [1., 2., 3., 5., 4., 6., 10., 9., 15., 25.]);
        let p = Polynomial::new(3, 0, 3, true, false).unwrap();
        assert_eq!(terms(&p, &row), [2., 3., 5., 6., 10., 15., 30.]);
        let p = Polynomial::new(2, 2, 3, false, true).unwrap();
        assert_eq!(terms(&p, &row[..2]), [1., 4., 6., 9., 8., 12., 18., 27.]);
        assert!(Polynomial::new(1000, 0, 5, false, true).is_err());
    }
}

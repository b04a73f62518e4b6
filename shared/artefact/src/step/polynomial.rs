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
    Feature(u32),
    Product { term: u32, feature: u32 },
}

impl Polynomial {
    /// All products of `min..=max` features in scikit-learn's order, with distinct features only on request.
    ///
    /// # Errors
    /// An error for more terms than are accepted.
    pub fn new(width: usize, min: usize, max: usize, distinct: bool, bias: bool) -> Result<Self, String> {
        // each term with its first feature, degree by degree; a term's product is its tail's times its first feature
        let mut all: Vec<(u32, Term)> = Vec::new();
        let (mut hidden, mut previous) = (0, 0..0);
        let features = u32::try_from(width).map_err(|_| "has too many features")?;
        for degree in 1..=max {
            let start = all.len();
            for feature in 0..features {
                if degree == 1 {
                    push(&mut all, feature, Term::Feature(feature))?;
                }
                for tail in previous.clone() {
                    let first = all[tail].0;
                    if first > feature || (first == feature && !distinct) {
                        push(&mut all, feature, Term::Product { term: tail as u32, feature })?;
                    }
                }
            }
            previous = start..all.len();
            if degree < min {
                hidden = all.len();
            }
        }
        let mut terms: Vec<Term> = all.into_iter().map(|(_, term)| term).collect();
        if bias {
            // the constant is inserted before the first visible term; later terms move by one
            for term in &mut terms {
                if let Term::Product { term, .. } = term
                    && *term as usize >= hidden
                {
                    *term += 1;
                }
            }
            terms.insert(hidden, Term::One);
        }
        // the terms lie in the memory that they were collected in
        terms.shrink_to_fit();
        if terms.len() == hidden {
            return Err("has no terms".to_owned());
        }
        Ok(Self { terms, hidden })
    }

    /// Bytes of the terms.
    pub fn bytes(&self) -> usize {
        self.terms.len() * size_of::<Term>()
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
                    Term::Feature(f) => row[f as usize],
                    Term::Product { term, feature } => values[term as usize] * row[feature as usize],
                };
            }
            out.extend_from_slice(&values[self.hidden..]);
        });
    }
}

fn push(terms: &mut Vec<(u32, Term)>, first: u32, term: Term) -> Result<(), String> {
    if terms.len() >= MAX_TERMS {
        return Err(format!("more than {MAX_TERMS} terms"));
    }
    terms.push((first, term));
    Ok(())
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

//! Encoders of categories, on numeric input.

use crate::Fault;
use crate::artefact::View;
use crate::mlmodel::MAX_WIDTH;
use crate::step::{Category, OneHot, Ordinal, Step, Unknown};

/// The categories of every column; each keeps its place.
fn categories(view: &View<'_>, width: usize) -> Result<Vec<Category>, Fault> {
    let lists = view.attr("categories_")?.items()?;
    if lists.len() != width {
        return Err(view.fault(format!("categories of {} columns, expected {width}", lists.len())));
    }
    let mut total = 0;
    let mut out = Vec::with_capacity(width);
    for list in &lists {
        let values = list.numbers()?;
        total += values.len();
        if values.is_empty() || total > MAX_WIDTH {
            return Err(list.fault(format!("{} categories", values.len())));
        }
        out.push(Category { place: (0..values.len()).map(Some).collect(), width: values.len(), values });
    }
    Ok(out)
}

/// Infrequent categories share a column, which this reader does not do.
fn refuse_infrequent(view: &View<'_>) -> Result<(), Fault> {
    if view.opt("_infrequent_enabled").map(|v| v.flag()).transpose()?.unwrap_or(false) {
        return Err(view.fault("infrequent categories are not supported"));
    }
    Ok(())
}

/// OneHotEncoder, with categories dropped as it was fitted.
pub(super) fn one_hot(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    refuse_infrequent(view)?;
    let mut categories = categories(view, width)?;
    if let Some(dropped) = view.opt("drop_idx_") {
        let dropped = match dropped.items() {
            Ok(items) => items,
            // a numeric array holds one index per column
            Err(_) => return Err(dropped.fault("is no list of indices")),
        };
        if dropped.len() != width {
            return Err(view.fault(format!("drop_idx_ has {} entries, expected {width}", dropped.len())));
        }
        for (category, index) in categories.iter_mut().zip(dropped) {
            if index.is_none() {
                continue;
            }
            let index = super::step::column(&index, index.number()?, category.values.len())?;
            category.place[index] = None;
            category.place[index + 1..].iter_mut().for_each(|p| *p = p.map(|p| p - 1));
            category.width -= 1;
        }
    }
    let handling = view.attr("handle_unknown")?;
    let unknown = match handling.text()? {
        "error" => Unknown::Refuse,
        "ignore" | "infrequent_if_exist" | "warn" => Unknown::Becomes(0.0),
        other => return Err(handling.fault(format!("{other:?} is not supported"))),
    };
    Ok(Step::OneHot(OneHot { categories, unknown }))
}

/// OrdinalEncoder.
pub(super) fn ordinal(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    refuse_infrequent(view)?;
    let handling = view.attr("handle_unknown")?;
    let unknown = match handling.text()? {
        "error" => Unknown::Refuse,
        "use_encoded_value" => Unknown::Becomes(view.attr("unknown_value")?.number()?),
        other => return Err(handling.fault(format!("{other:?} is not supported"))),
    };
    let encoded_missing = view.opt("encoded_missing_value").map_or(Ok(f64::NAN), |v| v.number())?;
    Ok(Step::Ordinal(Ordinal { categories: categories(view, width)?, unknown, encoded_missing }))
}

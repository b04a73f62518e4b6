//! Reads encoders of categories.

use std::sync::Arc;

use super::vectorize::MAX_TERMS;
use crate::mlmodel::MAX_WIDTH;
use crate::python::View;
use crate::step::{Categories, Category, Coding, Encoder, OneHot, Ordinal, Step, TargetEncodings, Unknown};
use crate::{Fault, Value};

/// Bytes of a category besides the value that is read.
const CATEGORY_BYTES: usize = 96;
/// The largest integer below which every integer is an f64.
const EXACT: u64 = 1 << 53;

/// The categories of every column with their places, and by value if they are not all numbers.
struct Read {
    categories: Vec<Category>,
    typed: Option<Vec<Categories>>,
}

/// The categories of every column; each has its own index, or shares one with the other infrequent categories.
fn categories(view: &View<'_>, width: usize) -> Result<Read, Fault> {
    let lists = view.attr("categories_")?.items()?;
    if lists.len() != width {
        return Err(view.fault(format!("categories of {} columns, expected {width}", lists.len())));
    }
    let mut total = 0;
    let (mut out, mut typed) = (Vec::with_capacity(width), Vec::with_capacity(width));
    let mut numeric = true;
    for list in &lists {
        let given = list.values()?;
        total += given.len();
        if given.is_empty() || total > MAX_TERMS {
            return Err(list.fault(format!("{} categories", given.len())));
        }
        list.allocate(given.len().saturating_mul(CATEGORY_BYTES))?;
        let exact = |v: &Value| !matches!(v, Value::Integer(i) if i.unsigned_abs() > EXACT);
        numeric &= given.iter().all(|v| exact(v) && v.number().is_some());
        typed.push(Categories::new(&given).with_none(has_none(list)));
        // where text stands, only its place counts
        let values: Vec<f64> = given.iter().map(|v| v.number().unwrap_or(0.0)).collect();
        let place = (0..values.len()).map(Some).collect();
        out.push(Category::new(values, place));
        drop_values(list, given);
    }
    if view.opt("_infrequent_enabled").map(|v| v.flag()).transpose()?.unwrap_or(false) {
        group(view, &mut out)?;
    }
    Ok(Read { categories: out, typed: (!numeric).then_some(typed) })
}

/// Drops values whose texts the categories share.
fn drop_values(list: &View<'_>, values: Vec<Value>) {
    list.allowance().give_back(size_of_val(values.as_slice()));
}

fn has_none(list: &View<'_>) -> bool {
    list.scratch(|| list.items()).is_ok_and(|items| items.iter().any(View::is_none))
}

/// Assigns infrequent categories the index that they share, which unknown values may have too.
fn group(view: &View<'_>, categories: &mut [Category]) -> Result<(), Fault> {
    let mappings = view.attr("_default_to_infrequent_mappings")?.items()?;
    let infrequent = view.attr("_infrequent_indices")?.items()?;
    if mappings.len() != categories.len() || infrequent.len() != categories.len() {
        return Err(view.fault(format!("groups infrequent categories of {} columns", mappings.len())));
    }
    for ((category, mapping), infrequent) in categories.iter_mut().zip(&mappings).zip(&infrequent) {
        if mapping.is_none() {
            continue;
        }
        let count = category.values.len();
        let places = mapping.scratch(|| mapping.numbers())?;
        // the mapping has no category for missing values if the OrdinalEncoder treats them separately
        let whole = places.len() == count || (places.len() + 1 == count && category.values[count - 1].is_nan());
        if !whole || places.is_empty() {
            return Err(mapping.fault(format!("has {} places for {count} categories", places.len())));
        }
        let mut grouped = vec![None; count];
        for (to, place) in grouped.iter_mut().zip(&places) {
            *to = Some(super::step::column(mapping, *place, count)?);
        }
        let first = infrequent
            .scratch(|| infrequent.numbers())?
            .first()
            .copied()
            .ok_or_else(|| infrequent.fault("is empty"))?;
        category.unknown = grouped[super::step::column(infrequent, first, count)?];
        category.width = grouped.iter().flatten().max().map_or(0, |p| p + 1);
        category.place = grouped;
    }
    Ok(())
}

/// Reads a OneHotEncoder, with the categories that were dropped when it was fitted.
pub(super) fn one_hot(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let Read { mut categories, typed } = categories(view, width)?;
    // before 1.1 there was no grouping, and the indices had another name
    if let Some(dropped) = view.opt("_drop_idx_after_grouping").or_else(|| view.opt("drop_idx_")) {
        let dropped = match dropped.items() {
            Ok(items) => items,
            // a numeric array has one index per column
            Err(_) => return Err(dropped.fault("is not a list of indices")),
        };
        if dropped.len() != width {
            return Err(view.fault(format!("drop_idx_ has {} entries, expected {width}", dropped.len())));
        }
        for (category, index) in categories.iter_mut().zip(dropped) {
            if index.is_none() {
                continue;
            }
            let gone = super::step::column(&index, index.number()?, category.width)?;
            let keep =
                |place: &mut Option<usize>| *place = place.filter(|p| *p != gone).map(|p| p - usize::from(p > gone));
            category.place.iter_mut().for_each(keep);
            keep(&mut category.unknown);
            category.width -= 1;
        }
    }
    let handling = view.attr("handle_unknown")?;
    let unknown = match handling.word()? {
        "error" => Unknown::Refuse,
        "ignore" => {
            categories.iter_mut().for_each(|c| c.unknown = None);
            Unknown::Becomes(0.0)
        }
        "infrequent_if_exist" | "warn" => Unknown::Becomes(0.0),
        other => return Err(handling.fault(format!("{other:?} is not supported"))),
    };
    // its name before 1.2
    let sparse = view.opt("sparse_output").or_else(|| view.opt("sparse")).map_or(Ok(true), |s| s.flag())?;
    let one_hot = OneHot { categories, unknown, sparse };
    Ok(match typed {
        Some(columns) => Step::Other(Arc::new(Encoder { columns, coding: Coding::OneHot(one_hot) })),
        None => Step::OneHot(one_hot),
    })
}

/// Reads an OrdinalEncoder.
pub(super) fn ordinal(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let handling = view.attr("handle_unknown")?;
    let unknown = match handling.word()? {
        "error" => Unknown::Refuse,
        "use_encoded_value" => Unknown::Becomes(view.attr("unknown_value")?.number()?),
        other => return Err(handling.fault(format!("{other:?} is not supported"))),
    };
    let encoded_missing = view.opt("encoded_missing_value").map_or(Ok(f64::NAN), |v| v.number())?;
    let Read { categories, typed } = categories(view, width)?;
    let ordinal = Ordinal { categories, unknown, encoded_missing };
    Ok(match typed {
        Some(columns) => Step::Other(Arc::new(Encoder { columns, coding: Coding::Ordinal(ordinal) })),
        None => Step::Ordinal(ordinal),
    })
}

/// Reads a TargetEncoder.
pub(super) fn target(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let lists = view.attr("categories_")?.items()?;
    let columns: Vec<Categories> = lists
        .iter()
        .map(|list| {
            let given = list.values()?;
            list.allocate(given.len().saturating_mul(CATEGORY_BYTES))?;
            let categories = Categories::new(&given).with_none(has_none(list));
            drop_values(list, given);
            Ok(categories)
        })
        .collect::<Result<_, Fault>>()?;
    let unknown = view.attr("target_mean_")?.finite()?;
    let tables = view.attr("encodings_")?.items()?;
    if columns.len() != width || unknown.is_empty() || tables.len() != width * unknown.len() {
        return Err(view.fault(format!("encodings of {} columns, expected {width}", columns.len())));
    }
    if width.saturating_mul(unknown.len()) > MAX_WIDTH {
        return Err(view.fault(format!("gives more than {MAX_WIDTH} columns")));
    }
    let mut encodings = Vec::with_capacity(width);
    for (categories, tables) in columns.iter().zip(tables.chunks_exact(unknown.len())) {
        encodings.push(tables.iter().map(|t| t.vector(categories.len())).collect::<Result<_, _>>()?);
    }
    let coding = Coding::Target(TargetEncodings { encodings, unknown });
    Ok(Step::Other(Arc::new(Encoder { columns, coding })))
}

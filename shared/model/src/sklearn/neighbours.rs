//! Nearest neighbours, centres of classes and clusters.

use std::sync::Arc;

use super::{Estimator, forest, search};
use crate::artefact::View;
use crate::head::Head;
use crate::learner::{
    Centres, Densities, Density, Detector, Metric, Neighbours, Normality, Propagation, Reach, Search, Targets, Weight,
};
use crate::output_transform::{Link, OutputTransform};
use crate::{Fault, Label};

fn by_distance(view: &View<'_>) -> Result<bool, Fault> {
    let Some(weights) = view.opt("weights") else { return Ok(false) };
    match weights.text() {
        Ok("uniform") => Ok(false),
        Ok("distance") => Ok(true),
        _ => Err(weights.fault("is neither uniform nor distance; no code is run here")),
    }
}

fn reach(view: &View<'_>) -> Result<Reach, Fault> {
    if view.class().contains("Radius") {
        return Ok(Reach::Radius(view.attr("radius")?.number()?));
    }
    Ok(Reach::Count(view.attr("n_neighbors")?.count(1 << 24)?.max(1)))
}

/// KNeighborsRegressor and RadiusNeighborsRegressor.
pub(super) fn regressor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let search = search::read(view, width)?;
    let values = view.attr("_y")?.finite()?;
    let outputs = values.len() / search.len();
    if outputs * search.len() != values.len() || outputs == 0 {
        return Err(view.fault(format!("{} targets of {} rows", values.len(), search.len())));
    }
    let targets = Targets::Numbers { outputs, values };
    let learner = Neighbours { search, reach: reach(view)?, by_distance: by_distance(view)?, targets };
    let transform = super::numbers(outputs);
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: false })
}

/// KNeighborsClassifier and RadiusNeighborsClassifier.
pub(super) fn classifier(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let search = search::read(view, width)?;
    let several = view.opt("outputs_2d_").map(|v| v.flag()).transpose()?.unwrap_or(false);
    let classes: Vec<Arc<[Label]>> =
        if several { super::labels_of_each(&view.attr("classes_")?)? } else { vec![forest::labels(view)?] };
    let counts: Vec<usize> = classes.iter().map(|c| c.len()).collect();
    let targets = view.attr("_y")?;
    let classes_of_rows = targets.numbers()?;
    targets.allocate(size_of_val(classes_of_rows.as_slice()))?;
    let indices: Vec<u32> = classes_of_rows
        .iter()
        .enumerate()
        .map(|(i, y)| Ok(super::step::column(&targets, *y, counts[i % counts.len()])? as u32))
        .collect::<Result<_, Fault>>()?;
    if indices.len() != search.len() * counts.len() {
        return Err(targets.fault(format!("has {} classes of {} rows", indices.len(), search.len())));
    }
    let outlier = match view.opt("outlier_label_") {
        Some(given) => {
            let given = given.labels()?;
            let place = |(label, classes): (&Label, &Arc<[Label]>)| classes.iter().position(|c| c == label);
            given.iter().zip(&classes).map(place).collect()
        }
        None => vec![None; counts.len()],
    };
    let targets = Targets::Classes { counts, indices, outlier };
    let learner = Neighbours { search, reach: reach(view)?, by_distance: by_distance(view)?, targets };
    let transform = if several {
        OutputTransform::Each(classes.into_iter().map(|labels| (labels, Link::Probabilities)).collect())
    } else {
        OutputTransform::Classes { labels: classes[0].clone(), link: Link::Probabilities }
    };
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: false })
}

/// NearestCentroid.
pub(super) fn centroids(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let n = labels.len();
    let rows = super::matrix(&view.attr("centroids_")?, n, width)?;
    let metric = view.attr("metric")?;
    let metric = match metric.word()? {
        "euclidean" => Metric::Euclidean,
        "manhattan" => Metric::Manhattan,
        other => return Err(metric.fault(format!("metric {other:?} is not supported"))),
    };
    let mut by_density = false;
    let mut densities = None;
    // there are no priors before 1.6
    if let Some(priors) = view.opt("class_prior_") {
        let priors = priors.vector(n)?;
        let share = 1.0 / n as f64;
        by_density = priors.iter().any(|p| (p - share).abs() > 1e-8 + 1e-5 * share);
        if metric == Metric::Euclidean {
            let deviations = view.attr("within_class_std_dev_")?.vector(width)?;
            let precision: Vec<f64> = deviations.iter().map(|d| if *d == 0.0 { 2.0 } else { 2.0 / (d * d) }).collect();
            let density = |(mean, prior): (&[f64], &f64)| Density {
                mean: mean.to_vec(),
                axes: Arc::default(),
                precision: precision.clone(),
                constant: 2.0 * prior.ln(),
            };
            let classes = rows.chunks_exact(width).zip(&priors).map(density).collect();
            densities = Some(Densities { label: "Centroids", width, classes, mixture: false });
        } else if by_density {
            return Err(view.fault("unequal priors are not supported with this metric"));
        }
    }
    let link = if densities.is_some() { Link::Chosen } else { Link::Index };
    let centres = Centres { search: Search::scan(width, rows, metric), densities, by_density, classes: Vec::new() };
    let transform = OutputTransform::Classes { labels, link };
    Ok(Estimator { head: Head::Learner(Arc::new(centres)), transform, takes_missing: false })
}

/// LocalOutlierFactor that was fitted for new rows.
pub(super) fn local_outlier_factor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    if !view.attr("novelty")?.flag()? {
        return Err(view.fault("was not fitted for new rows (novelty)"));
    }
    let search = search::read(view, width)?;
    let neighbours = view.opt("n_neighbors_").map_or_else(|| view.attr("n_neighbors"), Ok)?.count(search.len())?;
    let (distances, [count, columns]) = view.attr("_distances_fit_X_")?.matrix()?;
    if count != search.len() || neighbours == 0 || neighbours > columns {
        return Err(view.fault(format!("has distances of {count} rows to {columns} neighbours")));
    }
    let reach = distances.chunks_exact(columns).map(|row| row[neighbours - 1]).collect();
    let densities = view.attr("_lrd")?.vector(count)?;
    let offset = view.attr("offset_")?.number()?;
    let normality = Normality::Local { search, neighbours, reach, densities };
    Ok(super::outlier::estimator(Detector { normality, offset, border_is_out: false }, false))
}

/// LabelPropagation and LabelSpreading.
pub(super) fn propagation(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let (rows, [count, columns]) = view.attr("X_")?.matrix()?;
    if columns != width || count == 0 {
        return Err(view.fault(format!("was fitted on {columns} columns, expected {width}")));
    }
    let kernel = view.attr("kernel")?;
    let weight = match kernel.text() {
        Ok("rbf") => Weight::Rbf { gamma: view.attr("gamma")?.number()? },
        Ok("knn") => Weight::Nearest(view.attr("n_neighbors")?.count(count)?),
        _ => return Err(kernel.fault(format!("kernel is {}; no code is run here", kernel.kind()))),
    };
    let distributions = super::matrix(&view.attr("label_distributions_")?, count, labels.len())?;
    // only the kernel "knn" searches
    let tree = view.opt("nn_fit").map(|search| search::tree(&search, count, width)).transpose()?.flatten();
    let search = Search { width, rows, metric: Metric::Euclidean, tree };
    let learner = Propagation { search, weight, distributions, classes: labels.len() };
    let transform = OutputTransform::Classes { labels, link: Link::Probabilities };
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: false })
}
